//! TLS from files: read at the start, again when they change. Files that cannot be used never replace the current ones.

use crate::{app::folder, http::certificate, observe::metrics::Metrics};
use haechi_model::TlsFiles;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// TLS cannot be served.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be opened.
    #[error("{} cannot be opened: {}; a relative path counts from where the command is run", .0.display(), haechi_model::why(*.1))]
    Unopened(std::path::PathBuf, std::io::ErrorKind),
    /// A file holds something else.
    #[error("{} is no PEM file of {}", .0.display(), .1)]
    NotPem(std::path::PathBuf, &'static str),
    /// The key is not the certificate's, or of a kind that is not used.
    #[error("the certificate and the key do not belong together")]
    Pair,
}

/// The current certificate.
pub struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

type Stamp = [Option<SystemTime>; 2];

struct Current {
    config: Arc<ServerConfig>,
    /// When its certificate ends, seconds since 1970.
    ends: Option<i64>,
    stamp: Stamp,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn open(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let stamp = stamp(files);
        let (config, ends) = read(files)?;
        Ok(Arc::new(Self { files: files.clone(), current: Mutex::new(Current { config, ends, stamp }) }))
    }

    /// The configuration for new connections.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.lock().unwrap_or_else(PoisonError::into_inner).config.clone())
    }

    /// When the certificate of the moment ends, seconds since 1970.
    #[must_use]
    pub fn ends(&self) -> Option<i64> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).ends
    }

    /// Reads the files again when they have changed; keeps the current ones when the new ones cannot be used.
    pub fn look(&self) {
        let now = stamp(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now == current.stamp {
            return;
        }
        match read(&self.files) {
            Ok((config, ends)) => {
                *current = Current { config, ends, stamp: now };
                tracing::info!(target: "haechi::tls", "the certificate was read again");
            }
            // Usually half written: the next check finds it complete.
            Err(error) => {
                current.stamp = now;
                tracing::warn!(target: "haechi::tls", %error, "the certificate was not read again; the old one goes on");
            }
        }
    }

    /// Checks the files for ever; the metrics show when the certificate ends.
    pub async fn watch(self: Arc<Self>, metrics: Arc<Metrics>) {
        loop {
            if let Some(ends) = self.ends() {
                metrics.certificate_ends(ends);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert_file, &files.key_file].map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

/// TLS 1.2 and 1.3 with the provider's own choice of suites, none of them without forward secrecy.
fn read(files: &TlsFiles) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
    for path in [&files.cert_file, &files.key_file] {
        std::fs::File::open(path).map_err(|error| TlsError::Unopened(path.clone(), error.kind()))?;
    }
    let no_chain = || TlsError::NotPem(files.cert_file.clone(), "a certificate and those that signed it");
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert_file).and_then(Iterator::collect).map_err(|_| no_chain())?;
    if chain.is_empty() {
        return Err(no_chain());
    }
    if folder::is_open_to_others(&files.key_file) {
        let file = files.key_file.display();
        tracing::warn!(target: "haechi::tls", "{file} may be read by others than its owner: run `chmod 600 {file}`");
    }
    let ends = chain.first().and_then(|certificate| certificate::ends(certificate));
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|_| TlsError::NotPem(files.key_file.clone(), "a private key"))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(|_| TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), ends))
}
