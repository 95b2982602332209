//! TLS: who is trusted, by options and by URL, and that nothing goes without it where it was asked for.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rowbus::testing::NatsServer;
use rowbus::{ErrorKind, NatsBus};
use tempfile::TempDir;

use crate::{assert_works, connect, kind};

/// An authority, and what it has signed.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("roots.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A certificate for this name, and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}.pem"));
        fs::write(file("certificate"), certificate.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("certificate"), file("key"))
    }

    fn server(&self, name: &str) -> Option<NatsServer> {
        let (certificate, key) = self.sign(name);
        NatsServer::builder().tls(certificate, key).start()
    }
}

#[tokio::test]
async fn a_server_that_the_roots_vouch_for_is_trusted() {
    let authority = Authority::new();
    let Some(server) = authority.server("127.0.0.1") else { return };
    let roots = authority.roots();
    assert!(server.url().starts_with("tls://"));
    assert_works(&NatsBus::builder(&server.url()).tls_roots(&roots).connect().await.unwrap()).await;
    let url = format!("{}?tls_roots={}", server.url(), roots.display());
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
    // The scheme need not say it: roots are there to be used.
    let url = format!("nats://{}?tls_roots={}", server.address(), roots.display());
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(server) = authority.server("127.0.0.1") else { return };
    assert_eq!(kind(NatsBus::connect(&server.url()).await), ErrorKind::Disconnected);
    let with_other = NatsBus::builder(&server.url()).tls_roots(other.roots()).connect().await;
    assert_eq!(kind(with_other), ErrorKind::Disconnected);
    // It asks for TLS, which a plain scheme gives it, with the roots of the system.
    let plain = NatsBus::connect(&format!("nats://{}", server.address())).await;
    assert_eq!(kind(plain), ErrorKind::Disconnected);
}

#[tokio::test]
async fn a_server_with_the_certificate_of_another_is_not_trusted() {
    let authority = Authority::new();
    let Some(server) = authority.server("other.example") else { return };
    let refused = NatsBus::builder(&server.url()).tls_roots(authority.roots()).connect().await;
    assert_eq!(kind(refused), ErrorKind::Disconnected);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_was_asked_for() {
    let Some(server) = NatsServer::start() else { return };
    assert_works(&connect(&server).await).await;
    let urls = [format!("tls://{}", server.address()), format!("{}?tls=true", server.url())];
    for url in urls {
        assert_eq!(kind(NatsBus::connect(&url).await), ErrorKind::Disconnected, "{url}");
    }
    let required = NatsBus::builder(&server.url()).require_tls(true).connect().await;
    assert_eq!(kind(required), ErrorKind::Disconnected);
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let server = NatsServer::builder().tls(certificate, key).client_roots(authority.roots());
    let Some(server) = server.start() else { return };
    let (certificate, key) = authority.sign("ann");
    let roots = authority.roots();
    let shown = NatsBus::builder(&server.url()).tls_roots(&roots).tls_certificate(&certificate, &key);
    assert_works(&shown.connect().await.unwrap()).await;
    let url = format!(
        "{}?tls_roots={}&tls_certificate={}&tls_key={}",
        server.url(),
        roots.display(),
        certificate.display(),
        key.display()
    );
    assert_works(&NatsBus::connect(&url).await.unwrap()).await;
    let without = NatsBus::builder(&server.url()).tls_roots(&roots).connect().await;
    assert_eq!(kind(without), ErrorKind::Disconnected);
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_an_invalid_option_that_names_it() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("ann");
    let (missing, empty) =
        (authority.folder.path().join("missing.pem"), authority.folder.path().join("empty.pem"));
    fs::write(&empty, "").unwrap();
    let bus = || NatsBus::builder("tls://127.0.0.1:1");
    let mistakes = [
        (bus().tls_roots(&missing), "missing.pem"),
        (bus().tls_roots(&empty), "empty.pem"),
        (bus().tls_certificate(&certificate, &empty), "empty.pem"),
        (bus().tls_certificate(&key, &certificate), "key.pem"),
    ];
    for (mistake, named) in mistakes {
        let error = mistake.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    let half = NatsBus::connect(&format!("tls://127.0.0.1:1?tls_key={}", key.display())).await.unwrap_err();
    assert_eq!(half.kind(), ErrorKind::InvalidOption);
}
