//! Closing somebody else's connection: who waits on it is told at once, and nobody else notices.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use cordon::sys::sock_diag::{Destroyed, Ends, SocketDestroyer};

use crate::harness::environment::Environment;
use crate::harness::namespace::Namespace;
use crate::harness::network::{at, ip};
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let mut stories = Vec::new();
    for (name, listen, connect) in [
        (
            "v4",
            at(Ipv4Addr::LOCALHOST, 443),
            at(Ipv4Addr::LOCALHOST, 443),
        ),
        (
            "v6",
            at(Ipv6Addr::LOCALHOST, 443),
            at(Ipv6Addr::LOCALHOST, 443),
        ),
        ("mapped", at(Ipv6Addr::UNSPECIFIED, 443), at(mapped, 443)),
    ] {
        stories.push(Story::new(
            format!("destroy::who_waits_on_a_closed_{name}_connection_is_told_at_once"),
            move |environment| told_at_once(environment, listen, connect),
        ));
    }
    stories.push(Story::new(
        "destroy::a_connection_that_is_gone_does_not_cost_its_listener",
        listener_stays,
    ));
    stories
}

fn loopback() -> Result<Namespace> {
    let namespace = Namespace::network()?;
    namespace.run(|| ip("link set lo up\n"))?;
    Ok(namespace)
}

fn destroyer(namespace: &Namespace) -> Result<SocketDestroyer> {
    let file = File::open(namespace.path())?;
    Ok(SocketDestroyer::in_namespace(&file)?)
}

/// Both ends of a connection made inside a namespace.
fn connection(
    namespace: &Namespace,
    listener: &TcpListener,
    to: SocketAddr,
) -> Result<(TcpStream, TcpStream)> {
    let client = namespace.run(|| Ok(TcpStream::connect(to)?))?;
    let (server, _peer) = listener.accept()?;
    Ok((client, server))
}

fn ends(stream: &TcpStream) -> Result<Ends> {
    Ok(Ends::new(stream.local_addr()?, stream.peer_addr()?))
}

fn told_at_once(environment: &Environment, listen: SocketAddr, connect: SocketAddr) -> Result<()> {
    let patience = environment.seconds(5);
    let namespace = loopback()?;
    let listener = namespace.run(|| Ok(TcpListener::bind(listen)?))?;
    let (mut client, mut server) = connection(&namespace, &listener, connect)?;
    let (mut other, mut other_server) = connection(&namespace, &listener, connect)?;
    let of_client = ends(&client)?;
    client.set_read_timeout(Some(patience * 4))?;
    server.set_read_timeout(Some(patience))?;
    other_server.set_read_timeout(Some(patience))?;

    // Not found from a namespace where there is no such connection.
    let elsewhere = destroyer(&loopback()?)?.destroy(&of_client)?;
    ensure!(elsewhere == Destroyed::Gone, "{elsewhere:?} elsewhere");

    let (sender, said) = channel();
    scope(|threads| -> Result<()> {
        threads.spawn(move || {
            let read = client.read(&mut [0; 16]);
            // Nobody may be waiting any more.
            let _unheard = sender.send(read.map_err(|error| error.raw_os_error()));
        });
        // Until the client is blocked in its read.
        sleep(Duration::from_millis(200));
        let closed = destroyer(&namespace)?.destroy(&of_client)?;
        ensure!(closed == Destroyed::Closed, "{closed:?}");
        let read = said
            .recv_timeout(patience)
            .map_err(|_timeout| anyhow!("the client still waits"))?;
        ensure!(read == Err(Some(libc::ECONNABORTED)), "{read:?}");
        Ok(())
    })?;
    let reset = server.read(&mut [0; 16]);
    ensure!(
        matches!(&reset, Err(error) if error.kind() == io::ErrorKind::ConnectionReset),
        "{reset:?}"
    );
    let again = destroyer(&namespace)?.destroy(&of_client)?;
    ensure!(again == Destroyed::Gone, "{again:?} the second time");

    // The other connection to the same peer goes on.
    other.write_all(b"still here")?;
    let mut bytes = [0; 10];
    other_server.read_exact(&mut bytes)?;
    ensure!(&bytes == b"still here");
    Ok(())
}

/// The kernel, asked for a connection that is gone, finds the listener at the same end.
fn listener_stays(environment: &Environment) -> Result<()> {
    let namespace = loopback()?;
    let address = at(Ipv4Addr::LOCALHOST, 443);
    let listener = namespace.run(|| Ok(TcpListener::bind(address)?))?;
    let (client, server) = connection(&namespace, &listener, address)?;
    let of_server = ends(&server)?;
    let destroyer = destroyer(&namespace)?;
    for _ in 0..2 {
        destroyer.destroy(&of_server)?;
    }
    let gone = destroyer.destroy(&of_server)?;
    ensure!(gone == Destroyed::Gone, "{gone:?}");
    drop((client, server));

    let (mut client, mut server) =
        connection(&namespace, &listener, address).context("the listener is gone")?;
    server.set_read_timeout(Some(environment.seconds(5)))?;
    client.write_all(b"x")?;
    server.read_exact(&mut [0])?;
    // A cookie that is another socket's closes nothing.
    let wrong = Ends {
        cookie: Some(1),
        ..ends(&server)?
    };
    let gone = destroyer.destroy(&wrong)?;
    ensure!(gone == Destroyed::Gone, "{gone:?} with a wrong cookie");
    client.write_all(b"y")?;
    Ok(server.read_exact(&mut [0])?)
}
