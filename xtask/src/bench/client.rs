//! An HTTP/1.1 client over blocking sockets, and requests that several benchmarks send.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// People who sign in with a password, and the one that they have.
pub(crate) const SIGNERS: usize = 16;
pub(crate) const PASSWORD: &str = "seven purple otters dance";
/// Reads what has come; a signal to this process does not end the read.
fn more(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Reads one reply with a content length; its status.
pub(crate) fn reply(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<u16> {
    let mut filled = 0;
    loop {
        let count = more(stream, &mut buffer[filled..])?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        let Some(head) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        if buffer[..head].windows(26).any(|window| window == b"transfer-encoding: chunked") {
            while !buffer[..filled].ends_with(b"\r\n\r\n") || !buffer[head + 4..filled].windows(5).any(|window| window == b"\r\n0\r\n") {
                let count = more(stream, &mut buffer[filled..])?;
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                filled += count;
            }
            return std::str::from_utf8(&buffer[9..12]).ok().and_then(|text| text.parse().ok()).ok_or(std::io::ErrorKind::InvalidData.into());
        }
        let (status, length) = parse_head(&buffer[..head]).ok_or(std::io::ErrorKind::InvalidData)?;
        let total = head + 4 + length;
        while filled < total {
            let count = more(stream, &mut buffer[filled..])?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
        }
        return Ok(status);
    }
}

/// Status and content length.
fn parse_head(head: &[u8]) -> Option<(u16, usize)> {
    let text = std::str::from_utf8(head).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.trim().parse().ok());
    // 204 has no body and says no length.
    Some((status, if status == 204 { 0 } else { length? }))
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, token: &str, body: &str) -> Vec<u8> {
    let credential = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{credential}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// Somebody signs in, on a device that is known or not.
pub(crate) fn sign_in(who: usize, device: &str) -> Vec<u8> {
    let device = if device.is_empty() { String::new() } else { format!(",\"device\":\"{device}\"") };
    post("/auth/v1/sign-in", "", &format!("{{\"email\":\"signer{who}@example.test\",\"password\":\"{PASSWORD}\"{device}}}"))
}

/// Sends one request on a new connection; returns the whole reply.
pub(crate) fn once(address: &str, request: &[u8], expected: u16) -> Result<String, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(fail)?;
    stream.write_all(request).map_err(fail)?;
    let mut buffer = vec![0; 64 * 1024];
    let status = reply(&mut stream, &mut buffer).map_err(fail)?;
    let text = String::from_utf8_lossy(&buffer).trim_end_matches('\0').to_owned();
    if status == expected { Ok(text) } else { Err(text) }
}
