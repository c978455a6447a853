//! Tells systemd, if it asks (`Type=notify`), that the server is ready or stops.

use std::os::unix::net::UnixDatagram;

/// The server listens, and its database is open.
pub(crate) fn ready() {
    tell("READY=1");
}

/// New connections are refused; requests in work are finished.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            socket.send_to_addr(state.as_bytes(), &std::os::unix::net::SocketAddr::from_abstract_name(name)?)
        }
        None => socket.send_to(state.as_bytes(), &path),
    });
    if let Err(error) = sent {
        tracing::warn!(target: "haechi", %error, "systemd could not be told");
    }
}
