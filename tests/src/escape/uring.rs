//! Enough of `io_uring` to do one operation at a time: no system call names the operation.
#![expect(unsafe_code, reason = "the ring's system calls have no safe form")]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::case::{Refused, at};
use super::sys::{Shared, numbered};

/// An operation: number, descriptor, address, length, offset, and the flags of the operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operation {
    /// `IORING_OP_*`
    pub code: u8,
    /// Descriptor; for a socket, the family.
    pub fd: i32,
    /// Second field of 64 bits: `offset`, or length of an address; for a socket, the type.
    pub offset: u64,
    /// `addr`
    pub address: usize,
    /// `len`; for a socket, the protocol.
    pub length: u32,
}

/// `IORING_OP_SENDMSG`
pub const SENDMSG: u8 = 9;
/// `IORING_OP_CONNECT`
pub const CONNECT: u8 = 16;
/// `IORING_OP_SEND`
pub const SEND: u8 = 26;
/// `IORING_OP_SEND_ZC`
pub const SEND_ZC: u8 = 47;
/// `IORING_OP_SOCKET`
pub const SOCKET: u8 = 45;

/// A ring with room for one operation.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    entries: Shared,
    submission: Shared,
    completion: Shared,
    parameters: [u32; 30],
    flags: u8,
}

/// Who does the work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worker {
    /// The caller, if it can be done at once.
    Caller,
    /// A worker thread of the ring (`IOSQE_ASYNC`).
    Pool,
    /// A thread that polls the ring (`IORING_SETUP_SQPOLL`).
    Poller,
}

impl Ring {
    /// `io_uring_setup(2)`
    pub fn new(worker: Worker) -> Result<Self, Refused> {
        const SETUP_SQPOLL: u32 = 2;
        const SQE_ASYNC: u8 = 16;
        let mut parameters = [0_u32; 30];
        if worker == Worker::Poller {
            // Flags, and after how many milliseconds it sleeps.
            parameters[2] = SETUP_SQPOLL;
            parameters[4] = 50;
        }
        let arguments = [1, parameters.as_mut_ptr() as usize, 0, 0];
        // SAFETY: the second argument is the structure of 120 bytes that the call reads and fills.
        let fd = unsafe { numbered("io_uring_setup", libc::SYS_io_uring_setup, arguments) }?;
        let fd = i32::try_from(fd).unwrap_or(-1);
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            submission: Shared::new(&fd, 4096, 0)?,
            completion: Shared::new(&fd, 4096, 0x800_0000)?,
            entries: Shared::new(&fd, 4096, 0x1000_0000)?,
            fd,
            parameters,
            flags: if worker == Worker::Pool { SQE_ASYNC } else { 0 },
        })
    }

    /// A word of the parameters, as an offset.
    fn offset(&self, word: usize) -> usize {
        self.parameters.get(word).copied().unwrap_or_default() as usize
    }

    /// Does one operation and waits for its end; what it returns.
    pub fn run(&self, call: &'static str, operation: Operation) -> Result<i32, Refused> {
        let Operation {
            code,
            fd,
            offset,
            address,
            length,
        } = operation;
        let mut entry = vec![code, self.flags, 0, 0];
        entry.extend(fd.to_ne_bytes());
        entry.extend(offset.to_ne_bytes());
        entry.extend((address as u64).to_ne_bytes());
        entry.extend(length.to_ne_bytes());
        entry.resize(64, 0);
        self.entries.put(0, &entry);
        // io_sqring_offsets at word 10: head, tail, ring_mask, ring_entries, flags, dropped, array;
        // io_cqring_offsets at word 20: head, tail, ring_mask, ring_entries, overflow, cqes.
        let (tail, array) = (self.offset(11), self.offset(16));
        let (head, done, cqes) = (self.offset(20), self.offset(21), self.offset(25));
        self.submission.put(array, &0_u32.to_ne_bytes());
        let next = self.submission.get(tail).wrapping_add(1);
        self.submission.put(tail, &next.to_ne_bytes());
        let ring = usize::try_from(self.fd.as_raw_fd()).unwrap_or_default();
        // Wait for one, and wake a poller.
        // SAFETY: integers, and no signal mask.
        unsafe { numbered("io_uring_enter", libc::SYS_io_uring_enter, [ring, 1, 1, 3]) }?;
        let first = self.completion.get(head);
        if first == self.completion.get(done) {
            return Err(at(call)(Errno::ETIMEDOUT));
        }
        // Two completions fit; the mask of the ring is at word 22.
        let mask = self.completion.get(self.offset(22));
        let at_entry = cqes + (first & mask) as usize * 16;
        let result = self.completion.get(at_entry + 8).cast_signed();
        self.completion
            .put(head, &first.wrapping_add(1).to_ne_bytes());
        if result < 0 {
            return Err(at(call)(Errno::from_raw(-result)));
        }
        Ok(result)
    }

    /// A socket made by the ring.
    pub fn socket(&self, family: i32, kind: u64) -> Result<OwnedFd, Refused> {
        let operation = Operation {
            code: SOCKET,
            fd: family,
            offset: kind,
            ..Operation::default()
        };
        let fd = self.run("io_uring socket", operation)?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Connects.
    pub fn connect(&self, socket: &OwnedFd, to: &[u8]) -> Result<(), Refused> {
        let operation = Operation {
            code: CONNECT,
            fd: socket.as_raw_fd(),
            offset: to.len() as u64,
            address: to.as_ptr() as usize,
            ..Operation::default()
        };
        self.run("io_uring connect", operation).map(drop)
    }

    /// Sends on a connected socket, by [`SEND`] or [`SEND_ZC`].
    pub fn send(&self, code: u8, socket: &OwnedFd, data: &[u8]) -> Result<(), Refused> {
        let operation = Operation {
            code,
            fd: socket.as_raw_fd(),
            address: data.as_ptr() as usize,
            length: u32::try_from(data.len()).unwrap_or_default(),
            ..Operation::default()
        };
        self.run("io_uring send", operation).map(drop)
    }

    /// Sends a datagram to an address.
    pub fn sendmsg(&self, socket: &OwnedFd, data: &[u8], to: &[u8]) -> Result<(), Refused> {
        let mut part = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: a structure of integers and pointers, for which zeros are valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_namelen = u32::try_from(to.len()).unwrap_or_default();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        let operation = Operation {
            code: SENDMSG,
            fd: socket.as_raw_fd(),
            address: &raw const header as usize,
            length: 1,
            ..Operation::default()
        };
        self.run("io_uring sendmsg", operation).map(drop)
    }
}
