//! TLS to the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, ErrorKind, Result};

/// What was asked of TLS.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    pub(crate) required: bool,
    /// A PEM file.
    pub(crate) roots: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Tls {
    pub(super) fn check(&self) -> Result<()> {
        if self.certificate.is_some() != self.key.is_some() {
            let message = "a certificate of this program and its key go together: one of them is missing";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(())
    }

    /// The configuration, if TLS is required by one of the options or by the server's URL.
    ///
    /// It names its cryptography: what the host has installed for its whole process, or has forgotten to, does not matter.
    pub(super) async fn config(&self, by_url: bool) -> Result<Option<ClientConfig>> {
        if !by_url && !self.required && self.roots.is_none() && self.certificate.is_none() {
            return Ok(None);
        }
        let tls = self.clone();
        let read = tokio::task::spawn_blocking(move || tls.read()).await;
        read.map_err(|error| Error::with_source(ErrorKind::Io, "reading certificates was broken off", error))?
            .map(Some)
    }

    fn read(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                for root in certificates(path)? {
                    roots.add(root).map_err(|error| unreadable(path, error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| {
            Error::with_source(ErrorKind::Unsupported, "this build has no usable version of TLS", error)
        })?;
        let builder = versions.with_root_certificates(roots);
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let shown = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
                let config = builder.with_client_auth_cert(shown, secret);
                config.map_err(|error| unreadable(certificate, error))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, error))?;
    if certificates.is_empty() {
        let message = format!("{} has no certificate in PEM", path.display());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = format!("{} cannot be used for TLS: {error}", path.display());
    Error::with_source(ErrorKind::InvalidOption, message, error)
}
