//! What the kernel does with a filter, for tests: strict, so that a program the kernel would refuse
//! fails here too.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "an overflow here is a failed test"
)]

use super::{
    AND, ARCHITECTURE, ARGUMENTS, IF_AT_LEAST, IF_EQUAL, Instruction, JUMP, LOAD, NUMBER, RETURN,
};

/// `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            NUMBER => self.number,
            ARCHITECTURE => self.architecture,
            _ => {
                let byte = offset - ARGUMENTS;
                let argument = self.arguments[(byte / 8) as usize];
                let bytes = argument.to_le_bytes();
                let from = (byte % 8) as usize;
                u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap())
            }
        }
    }
}

/// The value the program returns.
pub(super) fn run(program: &[Instruction], call: &Call) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        } = program[at];
        at += 1;
        let holds = match code {
            LOAD => {
                accumulator = call.word(operand);
                continue;
            }
            AND => {
                accumulator &= operand;
                continue;
            }
            JUMP => {
                at += operand as usize;
                continue;
            }
            RETURN => return operand,
            IF_EQUAL => accumulator == operand,
            IF_AT_LEAST => accumulator >= operand,
            other => panic!("no instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}
