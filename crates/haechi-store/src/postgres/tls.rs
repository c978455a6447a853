//! TLS to PostgreSQL. It always corresponds to libpq's `verify-full`: a trusted chain, and the requested name.

use haechi_model::Trust;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Config,
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::{TlsConnector, client};

/// Encrypts connections, or leaves them plain where the configuration says so.
#[derive(Clone)]
pub(super) struct Tls(Option<Arc<ClientConfig>>);

impl Tls {
    /// Reads the authorities, and sets the configuration to require TLS or to use none; it never falls back to plain text.
    pub(super) fn new(trust: &Trust, config: &mut Config) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        match trust {
            Trust::Plain => {
                config.ssl_mode(SslMode::Disable);
                return Ok(Self(None));
            }
            Trust::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Trust::Authorities(path) => {
                let read = |error: &dyn std::fmt::Display| io::Error::other(format!("ca_file {}: {error}", path.display()));
                let text = std::fs::read(path).map_err(|error| read(&haechi_model::why(error.kind())))?;
                for found in CertificateDer::pem_slice_iter(&text) {
                    let found = found.map_err(|_| read(&"it is no PEM file of certificates"))?;
                    roots.add(found).map_err(|_| read(&"it holds a certificate that cannot be used"))?;
                }
                if roots.is_empty() {
                    return Err(read(&"it holds no certificate"));
                }
            }
        }
        if roots.is_empty() {
            return Err(io::Error::other("no certificate authority is known"));
        }
        config.ssl_mode(SslMode::Require);
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Some(Arc::new(client))))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Private<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let Some(config) = self.0.clone() else { return Ok(Handshake(None)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake(Some((TlsConnector::from(config), name))))
    }
}

/// One handshake to come.
pub(super) struct Handshake(Option<(TlsConnector, ServerName<'static>)>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Private<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Private<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let (connector, name) = self.0.ok_or_else(|| io::Error::other("TLS was not asked for"))?;
            Ok(Private(Box::new(connector.connect(name, stream).await?)))
        })
    }
}

/// A connection under TLS.
pub(super) struct Private<S>(Box<client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Private<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // The name was verified; binding the password exchange to the certificate would need to parse it again.
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Private<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Private<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}
