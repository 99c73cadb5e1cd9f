//! Files of certificates and keys: what they hold, and whether they changed.

use std::fs::{Metadata, metadata, read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{FileRole, TlsError, TlsFiles};

/// What tells one state of both files from another, without reading them. A missing file is a state too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 2]);

/// Time, length and place: whoever replaces a file changes at least one of them.
type FileStamp = (i64, i64, u64, u64);

impl Stamp {
    pub(super) fn of(files: &TlsFiles) -> Self {
        // Links are followed: a mounted secret is changed by turning one.
        let stamp = |file: Metadata| (file.mtime(), file.mtime_nsec(), file.len(), file.ino());
        Self([&files.certificate, &files.key].map(|path| metadata(path).ok().map(stamp)))
    }
}

/// All certificates: one with its intermediates, or a bundle of authorities.
pub(in crate::runtime) fn chain(role: FileRole, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |problem| TlsError::Content { role, path: path.to_owned(), problem };
    let text = content(role, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|_| bad("is damaged; certificates in PEM form are expected"))?;
    if chain.is_empty() {
        return Err(bad("holds no certificate; `-----BEGIN CERTIFICATE-----` is expected"));
    }
    Ok(chain)
}

/// The private key.
pub(in crate::runtime) fn key(role: FileRole, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad = |problem| TlsError::Content { role, path: path.to_owned(), problem };
    let text = content(role, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = text.windows(b"ENCRYPTED".len()).any(|part| part == b"ENCRYPTED");
        if encrypted {
            bad("is encrypted, and nobody can give its password; decrypt it with: openssl pkey -in FILE -out NEW_FILE")
        } else {
            bad("holds no private key; `-----BEGIN PRIVATE KEY-----` is expected")
        }
    })
}

fn content(role: FileRole, path: &Path) -> Result<Vec<u8>, TlsError> {
    read(path).map_err(|source| TlsError::Read { role, path: path.to_owned(), source })
}
