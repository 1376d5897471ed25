//! `cordon doctor`: what it says of a machine that can enforce.

use anyhow::{Result, ensure};

use crate::harness::environment::Environment;
use crate::harness::world::World;
use crate::runner::Story;

/// Programs of the object; each is loaded and counted.
const PROGRAMS: usize = 18;

pub fn stories() -> Vec<Story> {
    vec![Story::new(
        "doctor::every_program_passes_the_verifier",
        every_program,
    )]
}

fn every_program(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let output = world.cordon(["doctor"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Shown: the figures differ from kernel to kernel.
    println!("\n{text}");
    ensure!(output.status.success(), "doctor: {text}");
    let verified = text
        .lines()
        .filter(|line| line.starts_with("ok   ") && line.ends_with(" instructions verified"));
    ensure!(verified.count() >= PROGRAMS, "{text}");
    Ok(())
}
