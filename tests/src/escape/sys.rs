//! System calls as hostile programs make them: safe to call, nothing hidden.
//!
//! Addresses, options and ancillary data are bytes, because malformed ones are part of the trade.
#![expect(
    unsafe_code,
    reason = "the suite makes system calls with arguments that no safe wrapper would accept"
)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};

use super::case::{Refused, at, io_at};

type Sys<T> = Result<T, Refused>;

/// How long a socket of a hostile program waits, in ms.
const PATIENCE: i64 = 1000;

fn length(bytes: usize) -> Result<libc::socklen_t, Errno> {
    libc::socklen_t::try_from(bytes).map_err(|_too_long| Errno::EINVAL)
}

fn size(result: isize) -> Result<usize, Errno> {
    Errno::result(result).map(isize::unsigned_abs)
}

/// An address as the kernel reads it.
pub fn address(to: SocketAddr) -> Vec<u8> {
    match to {
        SocketAddr::V4(v4) => {
            let mut bytes = vec![2, 0];
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
            bytes
        }
        SocketAddr::V6(v6) => {
            let mut bytes = vec![10, 0];
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
            bytes
        }
    }
}

/// The same address under another family number.
pub fn address_as(family: u8, to: SocketAddr) -> Vec<u8> {
    let mut bytes = address(to);
    if let Some(first) = bytes.first_mut() {
        *first = family;
    }
    bytes
}

/// `socket(2)`, with an end to its patience.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Sys<OwnedFd> {
    // SAFETY: socket(2) takes three integers and touches no memory of the caller.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd).map_err(at("socket"))?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let limit = [PATIENCE / 1000, (PATIENCE % 1000) * 1000].map(i64::to_ne_bytes);
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        set(&socket, libc::SOL_SOCKET, option, &limit.concat())?;
    }
    Ok(socket)
}

/// A Unix socket, patient enough for a service that starts a program.
pub fn unix(kind: i32) -> Sys<OwnedFd> {
    let socket = socket(libc::AF_UNIX, kind, 0)?;
    let limit = [5_i64, 0].map(i64::to_ne_bytes).concat();
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &limit)?;
    Ok(socket)
}

/// A path, or an abstract name with its leading NUL, as an address.
pub fn unix_address(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(name);
    if !name.starts_with(&[0]) {
        bytes.push(0);
    }
    bytes
}

/// `setsockopt(2)`
pub fn set(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> Sys<()> {
    let size = length(value.len()).map_err(at("setsockopt"))?;
    let start = value.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes that outlive the call; it only reads them.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, start, size) };
    Errno::result(result).map(drop).map_err(at("setsockopt"))
}

/// `setsockopt(2)` with an `int`.
pub fn set_int(socket: &OwnedFd, level: i32, option: i32, value: i32) -> Sys<()> {
    set(socket, level, option, &value.to_ne_bytes())
}

/// `bind(2)`
pub fn bind(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    let size = length(address.len()).map_err(at("bind"))?;
    let start = address.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes; the kernel copies them as bytes.
    let result = unsafe { libc::bind(socket.as_raw_fd(), start, size) };
    Errno::result(result).map(drop).map_err(at("bind"))
}

/// `connect(2)`; running out of patience is a timeout and not the kernel's `EINPROGRESS`.
pub fn connect(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    let size = length(address.len()).map_err(at("connect"))?;
    let start = address.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes; the kernel copies them as bytes.
    let result = unsafe { libc::connect(socket.as_raw_fd(), start, size) };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| match errno {
            Errno::EINPROGRESS => Errno::ETIMEDOUT,
            other => other,
        })
        .map_err(at("connect"))
}

/// `listen(2)`
pub fn listen(socket: &OwnedFd) -> Sys<()> {
    // SAFETY: takes two integers.
    let result = unsafe { libc::listen(socket.as_raw_fd(), 4) };
    Errno::result(result).map(drop).map_err(at("listen"))
}

/// `accept(2)`
pub fn accept(socket: &OwnedFd) -> Sys<OwnedFd> {
    let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: null pointers say that the peer's address is not wanted.
    let fd = unsafe { libc::accept4(socket.as_raw_fd(), none, nothing, libc::SOCK_CLOEXEC) };
    let fd = Errno::result(fd).map_err(at("accept"))?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `send(2)`
pub fn send(socket: &OwnedFd, data: &[u8], flags: i32) -> Sys<usize> {
    let (start, flags) = (data.as_ptr().cast(), flags);
    // SAFETY: `start` points at `data.len()` readable bytes that outlive the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), start, data.len(), flags) };
    size(sent).map_err(at("send"))
}

/// `sendto(2)`
pub fn sendto(socket: &OwnedFd, data: &[u8], flags: i32, address: &[u8]) -> Sys<usize> {
    let room = length(address.len()).map_err(at("sendto"))?;
    let (start, to) = (data.as_ptr().cast(), address.as_ptr().cast());
    // SAFETY: both pointers are to readable bytes of the lengths given, which outlive the call.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), start, data.len(), flags, to, room) };
    size(sent).map_err(at("sendto"))
}

/// `recv(2)`
pub fn recv(socket: &OwnedFd, buffer: &mut [u8]) -> Sys<usize> {
    let start = buffer.as_mut_ptr().cast();
    // SAFETY: `start` points at `buffer.len()` writable bytes.
    let got = unsafe { libc::recv(socket.as_raw_fd(), start, buffer.len(), 0) };
    size(got).map_err(at("recv"))
}

/// `recvfrom(2)` with the peer's address.
pub fn recvfrom(socket: &OwnedFd, buffer: &mut [u8]) -> Sys<Vec<u8>> {
    let mut peer = vec![0_u8; 128];
    let mut room = length(peer.len()).map_err(at("recvfrom"))?;
    let (start, from) = (buffer.as_mut_ptr().cast(), peer.as_mut_ptr().cast());
    let fd = socket.as_raw_fd();
    // SAFETY: both pointers are to writable bytes of the lengths given.
    let got = unsafe { libc::recvfrom(fd, start, buffer.len(), 0, from, &raw mut room) };
    size(got).map_err(at("recvfrom"))?;
    peer.truncate(room as usize);
    Ok(peer)
}

/// A message with everything `sendmsg(2)` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Where to; empty: nowhere said.
    pub address: &'a [u8],
    /// Ancillary data, with headers.
    pub control: &'a [u8],
}

/// One piece of ancillary data, header and padding included.
pub fn ancillary(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn header(message: &Message<'_>, part: &mut libc::iovec) -> Result<libc::msghdr, Errno> {
    // SAFETY: a structure of integers and pointers, for which zeros are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    part.iov_base = message.data.as_ptr().cast_mut().cast();
    part.iov_len = message.data.len();
    header.msg_iov = part;
    header.msg_iovlen = 1;
    if !message.address.is_empty() {
        header.msg_name = message.address.as_ptr().cast_mut().cast();
        header.msg_namelen = length(message.address.len())?;
    }
    if !message.control.is_empty() {
        header.msg_control = message.control.as_ptr().cast_mut().cast();
        header.msg_controllen = message.control.len();
    }
    Ok(header)
}

fn no_part() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

/// `sendmsg(2)`
pub fn sendmsg(socket: &OwnedFd, message: &Message<'_>, flags: i32) -> Sys<usize> {
    let mut part = no_part();
    let header = header(message, &mut part).map_err(at("sendmsg"))?;
    // SAFETY: the header points at `part` and at bytes of `message`, all of which outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    size(sent).map_err(at("sendmsg"))
}

/// `sendmmsg(2)`; the number of messages sent.
pub fn sendmmsg(socket: &OwnedFd, messages: &[Message<'_>]) -> Sys<usize> {
    let mut parts = vec![no_part(); messages.len()];
    let mut headers = Vec::new();
    for (message, part) in messages.iter().zip(&mut parts) {
        headers.push(libc::mmsghdr {
            msg_hdr: header(message, part).map_err(at("sendmmsg"))?,
            msg_len: 0,
        });
    }
    let count = length(headers.len()).map_err(at("sendmmsg"))?;
    let (start, fd) = (headers.as_mut_ptr(), socket.as_raw_fd());
    // SAFETY: `start` points at `count` headers, each of which points at a part and a message that
    // outlive the call.
    let sent = unsafe { libc::sendmmsg(fd, start, count, 0) };
    Errno::result(sent)
        .map_err(at("sendmmsg"))?
        .try_into()
        .map_err(|_negative| Refused {
            call: "sendmmsg",
            errno: Errno::EINVAL,
        })
}

/// Number of a network device.
pub fn interface(name: &str) -> Sys<u32> {
    nix::net::if_::if_nametoindex(name).map_err(at("if_nametoindex"))
}

/// Family of a socket.
fn family(socket: &OwnedFd) -> Sys<Option<AddressFamily>> {
    let name: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(at("getsockname"))?;
    Ok(name.family())
}

/// `ioctl(2)` with a request that reads and writes the bytes given.
pub fn ioctl(fd: &OwnedFd, request: u64, argument: &mut [u8]) -> Sys<()> {
    let start = argument.as_mut_ptr();
    // SAFETY: the callers' requests take a structure no longer than `argument`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, start) };
    Errno::result(result).map(drop).map_err(at("ioctl"))
}

/// Memory shared with the kernel, unmapped on drop.
#[derive(Debug)]
pub struct Shared {
    start: *mut u8,
    length: usize,
}

impl Shared {
    /// `mmap(2)` of a file, readable and writable.
    pub fn new(fd: &OwnedFd, length: usize, offset: i64) -> Sys<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let (anywhere, fd) = (std::ptr::null_mut(), fd.as_raw_fd());
        // SAFETY: a new mapping at a place the kernel chooses touches no memory there is.
        let start = unsafe { libc::mmap(anywhere, length, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(at("mmap")(Errno::last()));
        }
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    /// Reads four bytes.
    pub fn get(&self, offset: usize) -> u32 {
        u32::from_ne_bytes([0, 1, 2, 3].map(|index| self.byte(offset + index)))
    }

    /// Writes bytes.
    pub fn put(&self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let place = self.place(offset + index);
            // SAFETY: inside the mapping, which is writable.
            unsafe { place.write_volatile(*byte) };
        }
    }

    fn byte(&self, offset: usize) -> u8 {
        let place = self.place(offset);
        // SAFETY: inside the mapping, which is readable.
        unsafe { place.read_volatile() }
    }

    fn place(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.length);
        // SAFETY: inside the mapping, as just asserted.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made, which nothing else refers to.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// A system call by its number, with integers and with the addresses of buffers.
///
/// # Safety
/// Addresses among the arguments must be of memory that the call may use as it does.
pub unsafe fn numbered(call: &'static str, number: i64, arguments: [usize; 6]) -> Sys<i64> {
    let [one, two, three, four, five, six] = arguments;
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(number, one, two, three, four, five, six) };
    Errno::result(result).map_err(at(call))
}

/// Takes a source port, by which frames without data are known; and leaves no waiting connection that
/// would keep the port from the next run.
pub fn from_own_port(socket: &OwnedFd, port: u16) -> Sys<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    let at_once = [1_i32, 0].map(i32::to_ne_bytes).concat();
    set(socket, libc::SOL_SOCKET, libc::SO_LINGER, &at_once)?;
    let any = if family(socket)? == Some(AddressFamily::Inet) {
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
    } else {
        SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
    };
    bind(socket, &address(any))
}

/// Runs `act` in a child process, which then ends; the child's id.
pub fn forked<T>(act: impl FnOnce() -> Sys<T>) -> Sys<nix::unistd::Pid> {
    // SAFETY: a hostile program has one thread, so that its copy may do what it could do.
    match unsafe { nix::unistd::fork() }.map_err(at("fork"))? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let status = i32::from(act().is_err());
            // SAFETY: ends this process at once: no destructor of the parent's copy runs.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Waits for a child.
pub fn wait(child: nix::unistd::Pid) -> Sys<()> {
    nix::sys::wait::waitpid(child, None)
        .map(drop)
        .map_err(at("waitpid"))
}

/// Reads a descriptor that a peer gives.
pub fn receive(stream: &OwnedFd) -> Sys<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut control = nix::cmsg_space!(i32);
    let mut byte = [0];
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), flags)
        .map_err(at("recvmsg"))?;
    let fds = message
        .cmsgs()
        .map_err(at("recvmsg"))?
        .find_map(|piece| match piece {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
    let fd = fds.ok_or_else(|| at("recvmsg")(Errno::ENODATA))?;
    // SAFETY: the kernel has just put this descriptor into the process, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// 32-bit system calls from a 64-bit program: `int 0x80`, past filters of 64-bit numbers.
pub mod compat {
    use std::arch::asm;

    use nix::errno::Errno;

    use super::{Sys, at};

    const SOCKET: u32 = 359;
    const SENDTO: u32 = 369;

    /// Memory below 4 GiB, for pointers of 32 bits; given back by the end of the process.
    fn low(bytes: &[u8]) -> Sys<u32> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new mapping at a place the kernel chooses touches no memory there is.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(at("mmap")(Errno::last()));
        }
        assert!(bytes.len() <= 4096);
        // SAFETY: the mapping is writable and long enough, as just asserted, and new.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.cast(), bytes.len()) };
        u32::try_from(start as usize).map_err(|_high| at("mmap")(Errno::ENOMEM))
    }

    fn call(name: &'static str, number: u32, arguments: [u32; 6]) -> Sys<u32> {
        let [ebx, ecx, edx, esi, edi, ebp] = arguments;
        let result: i32;
        // SAFETY: the kernel reads memory only at the pointers given, which `low` made; rbx and rbp
        // are restored, since the compiler keeps them for itself.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "mov ebx, {b:e}",
                "mov ebp, {p:e}",
                "int 0x80",
                "pop rbp",
                "pop rbx",
                b = in(reg) ebx,
                p = in(reg) ebp,
                inlateout("eax") number.cast_signed() => result,
                in("ecx") ecx,
                in("edx") edx,
                in("esi") esi,
                in("edi") edi,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        if result < 0 {
            return Err(at(name)(Errno::from_raw(-result)));
        }
        Ok(result.cast_unsigned())
    }

    /// Sends a datagram by the numbers of x32: those of x86-64 with a bit set.
    pub fn x32_datagram(data: &[u8], to: &[u8]) -> Sys<()> {
        const BIT: i64 = 0x4000_0000;
        // SAFETY: three integers.
        let socket =
            unsafe { super::numbered("x32 socket", BIT | libc::SYS_socket, [2, 2, 0, 0, 0, 0]) }?;
        let socket = usize::try_from(socket).unwrap_or_default();
        let (start, address) = (data.as_ptr() as usize, to.as_ptr() as usize);
        let arguments = [socket, start, data.len(), 0, address, to.len()];
        // SAFETY: both addresses are of readable bytes of the lengths given.
        unsafe { super::numbered("x32 sendto", BIT | libc::SYS_sendto, arguments) }.map(drop)
    }

    /// Sends a datagram.
    pub fn datagram(data: &[u8], to: &[u8]) -> Sys<()> {
        let socket = call("int 0x80 socket", SOCKET, [2, 2, 0, 0, 0, 0])?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default();
        let arguments = [socket, low(data)?, length(data), 0, low(to)?, length(to)];
        call("int 0x80 sendto", SENDTO, arguments).map(drop)
    }
}

/// A file in memory with these bytes, to be read from its start.
pub fn memory_file(bytes: &[u8]) -> Sys<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let flags = nix::sys::memfd::MFdFlags::empty();
    let fd = nix::sys::memfd::memfd_create(c"escape", flags).map_err(at("memfd_create"))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).map_err(io_at("write"))?;
    file.rewind().map_err(io_at("lseek"))?;
    Ok(file.into())
}

/// `sendfile(2)`
pub fn sendfile(socket: &OwnedFd, file: &OwnedFd, length: usize) -> Sys<()> {
    let (to, from) = (socket.as_raw_fd(), file.as_raw_fd());
    // SAFETY: two descriptors, no offset, a length.
    let sent = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), length) };
    size(sent).map(drop).map_err(at("sendfile"))
}

/// `splice(2)` through a pipe.
pub fn splice(socket: &OwnedFd, bytes: &[u8]) -> Sys<()> {
    let (read, write) = nix::unistd::pipe().map_err(at("pipe"))?;
    nix::unistd::write(&write, bytes).map_err(at("write"))?;
    let (from, to) = (read.as_raw_fd(), socket.as_raw_fd());
    let nowhere = std::ptr::null_mut;
    // SAFETY: two descriptors, no offsets, a length.
    let sent = unsafe { libc::splice(from, nowhere(), to, nowhere(), bytes.len(), 0) };
    size(sent).map(drop).map_err(at("splice"))
}
