//! Certificates: SSRF-09.

use crate::server::{Answers, Server, over_tls, private};
use haechi_egress::{Client, Error, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A server's configuration with a certificate for a name, good until a year.
    pub(crate) fn server(&self, name: &str, until: i32) -> Arc<rustls::ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        config(certificate.der().clone(), &key)
    }
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<rustls::ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

#[tokio::test]
async fn only_a_certificate_that_is_good_for_the_host_is_trusted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let own = KeyPair::generate().unwrap();
    let self_signed = CertificateParams::new(["app.example".to_owned()]).unwrap().self_signed(&own).unwrap();
    for (what, tls, good) in [
        ("good", ours.server("app.example", 2100), true),
        ("expired", ours.server("app.example", 2021), false),
        ("of another name", ours.server("evil.example", 2100), false),
        ("of another authority", other.server("app.example", 2100), false),
        ("self-signed", config(self_signed.der().clone(), &own), false),
    ] {
        let server = Server::with("127.0.0.1", move |stream, _| over_tls(stream, tls.clone())).await;
        let port = server.address.port();
        let client = Client::builder().resolver(Answers::new(&[&["127.0.0.1"]])).authority(&ours.certificate()).unwrap().build();
        let destination = private("app.example", port, &["127.0.0.1"]);
        let found = client.send(&destination, Request::get(&format!("https://app.example:{port}/"))).await;
        match found {
            Ok(reply) => assert!(good && reply.status.as_u16() == 200, "{what} is trusted"),
            Err(error) => assert!(!good && matches!(error, Error::Tls(..)) && error.nothing_was_sent(), "{what}: {error:?}"),
        }
        assert_eq!(server.connections(), 1);
    }
    // A text that is no certificate is not taken silently.
    assert!(Client::builder().authority(&CertificateDer::from(b"none".to_vec())).is_none());
}
