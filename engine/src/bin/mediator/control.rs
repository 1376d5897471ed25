//! The way to cordon: questions, answers, and sockets that come along.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use cordon_engine::protocol::{Answer, Ask, MESSAGE_BYTES, Setup};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg,
    sendmsg,
};
use serde::de::DeserializeOwned;

/// The socket to cordon. One question at a time.
#[derive(Clone, Debug)]
pub(crate) struct Control(Arc<Mutex<OwnedFd>>);

impl Control {
    /// The one that is standard input.
    pub(crate) fn inherited() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(Arc::new(Mutex::new(socket))))
    }

    /// What this program is for.
    pub(crate) fn setup(&self) -> io::Result<Setup> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receive(&socket).map(|(setup, _)| setup)
    }

    /// Asks, where nothing comes along.
    pub(crate) async fn ask(&self, ask: Ask) -> io::Result<Answer> {
        self.ask_for(ask).await.map(|(answer, _)| answer)
    }

    /// Asks for something. A refusal is an answer.
    pub(crate) async fn ask_for(&self, ask: Ask) -> io::Result<(Answer, Option<OwnedFd>)> {
        let socket = Arc::clone(&self.0);
        // Cordon may take its time, and others are served meanwhile.
        let asked = tokio::task::spawn_blocking(move || {
            let bytes = serde_json::to_vec(&ask).map_err(io::Error::other)?;
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            let mut none = SendAncillaryBuffer::default();
            sendmsg(
                &*socket,
                &[IoSlice::new(&bytes)],
                &mut none,
                SendFlags::NOSIGNAL,
            )?;
            let answered = receive(&socket);
            drop(socket);
            answered
        });
        asked.await.map_err(io::Error::other)?
    }

    /// A connection to the engine.
    pub(crate) async fn connect(&self) -> io::Result<OwnedFd> {
        match self.ask_for(Ask::Connect).await? {
            (Answer::Done, Some(socket)) => Ok(socket),
            (Answer::Refused(why), _) => Err(io::Error::other(why)),
            _ => Err(io::Error::other("cordon answered something else")),
        }
    }
}

fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> io::Result<(T, Option<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let read = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut along,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if read.bytes == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "cordon is gone",
        ));
    }
    let sockets = along.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.flatten().next();
    let message = serde_json::from_slice(bytes.get(..read.bytes).unwrap_or_default());
    Ok((message.map_err(io::Error::other)?, socket))
}
