//! Why a request was not answered.

use std::{fmt, io};
use thiserror::Error;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name was looked up.
    Resolving,
    /// The connection was made.
    Connecting,
    /// The request was sent, or its reply was read.
    Answering,
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Resolving => "looking up its name",
            Self::Connecting => "connecting",
            Self::Answering => "waiting for its reply",
        })
    }
}

/// Why a request was not answered. No text holds more of a URL than its host: paths and queries may be secret.
#[derive(Debug, Error)]
pub enum Error {
    /// It is no URL that may be used.
    #[error("the address cannot be used: {0}")]
    Url(&'static str),
    /// The destination does not allow this host.
    #[error("{0} is not the host that is allowed")]
    Host(String),
    /// The destination does not allow this port.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// The address, or one of several that its name stands for, is not allowed.
    #[error("{0} leads to an address that is not allowed")]
    Address(String),
    /// A header that the client sets itself, or that speaks about the connection.
    #[error("the header `{0}` cannot be set")]
    Header(String),
    /// The name stands for nothing, or cannot be looked up.
    #[error("{0} cannot be looked up")]
    Resolve(String, #[source] io::Error),
    /// No connection.
    #[error("{0} cannot be connected to")]
    Connect(String, #[source] io::Error),
    /// The certificate is not good for this host, or TLS failed in another way.
    #[error("{0} offers no TLS that can be trusted")]
    Tls(String, #[source] io::Error),
    /// It took too long.
    #[error("it took too long, {0}")]
    Timeout(Stage),
    /// The reply has a longer head or body than is read.
    #[error("the reply is longer than is read")]
    TooLarge,
    /// It answers with more redirects than are followed, or with one that leads nowhere.
    #[error("it redirects {0}")]
    Redirect(&'static str),
    /// The connection ended before the reply did, or what came was no HTTP.
    #[error("it gave no whole reply")]
    Broken(#[source] hyper::Error),
}

impl Error {
    /// Whether nothing was sent: the other side cannot have done anything.
    #[must_use]
    pub fn nothing_was_sent(&self) -> bool {
        !matches!(self, Self::Timeout(Stage::Answering) | Self::TooLarge | Self::Redirect(_) | Self::Broken(_))
    }

    /// Whether the address itself is refused: trying again helps only when it changes.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Host(_) | Self::Port(_) | Self::Address(_) | Self::Header(_))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(_) => Self::new(io::ErrorKind::TimedOut, error),
            error => Self::other(error),
        }
    }
}
