//! Steps that use up what is limited.

use std::fs::File;
use std::hint::black_box;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::client::{Done, Refused, at, io_at};

/// Smallest page of memory there is.
const PAGE: usize = 4096;

pub(super) fn allocate(mib: usize) -> Done {
    let mut memory = vec![0_u8; mib << 20];
    for byte in memory.iter_mut().step_by(PAGE) {
        *byte = 1;
    }
    Done {
        bytes: black_box(&memory).len(),
        ..Done::default()
    }
}

pub(super) fn crowd(count: usize) -> Result<Done, Refused> {
    let mut children: Vec<Child> = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        match Command::new("sleep").arg("60").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let started = children.len();
    for mut child in children {
        child.kill().map_err(io_at("kill"))?;
        child.wait().map_err(io_at("wait"))?;
    }
    counted(started, refused.map(io_at("clone")).as_ref())
}

pub(super) fn open_files(count: usize) -> Result<Done, Refused> {
    let mut files: Vec<File> = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let opened = files.len();
    drop(files);
    counted(opened, refused.map(io_at("open")).as_ref())
}

/// How many there were. A refusal is told as an error of the outcome, so that both are.
fn counted(number: usize, refused: Option<&Refused>) -> Result<Done, Refused> {
    let mut done = Done {
        bytes: number,
        ..Done::default()
    };
    match refused {
        Some(Refused { errno, .. }) if [Errno::EAGAIN, Errno::EMFILE].contains(errno) => {
            done.outcome.error = Some(errno.to_string());
            Ok(done)
        }
        Some(Refused { call, errno }) => Err(at(call)(*errno)),
        None => Ok(done),
    }
}

pub(super) fn burn(time: Duration) -> Done {
    let until = Instant::now() + time;
    let mut sum = 0_u64;
    while Instant::now() < until {
        for number in 0..1000 {
            sum = black_box(sum.wrapping_add(number));
        }
    }
    Done::default()
}
