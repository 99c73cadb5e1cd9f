//! The authority issues, checks and refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use rcgen::SigningKey as _;
use shared::kernel::secret::Secret;

use super::*;

fn ring(letter: &str) -> KeyRing {
    KeyRing::parse(&Secret::new(letter.repeat(40))).unwrap()
}

fn authority(lifetime: Duration) -> Authority {
    Authority::open(&make(&ring("a")).unwrap(), &ring("a"), lifetime).unwrap()
}

fn request() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    // Whatever a node asks for beside its key does not count.
    let params = CertificateParams::new(vec!["control.example".to_owned()]).unwrap();
    let der = params.serialize_request(&key).unwrap().der().to_vec();
    (key, der)
}

#[test]
fn a_certificate_says_which_node_it_is_of() {
    let authority = authority(LIFETIME * 10);
    let (key, der) = request();
    let (node, request) = (NodeId::generate(), Request::parse(&der).unwrap());
    let issued = authority.issue(&request, node, "eu & us").unwrap();
    let read = authority.check(&issued.certificate).unwrap();
    assert_eq!((read.node, read.group.as_str()), (node, "eu & us"));
    assert!(read.not_after <= Utc::now() + TimeDelta::from_std(LIFETIME).unwrap(), "a day at most");
    assert!(read.signed(b"message", &key.sign(b"message").unwrap()));
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert!(!read.signed(b"message", &other.sign(b"message").unwrap()));
    assert!(!read.signed(b"another", &key.sign(b"message").unwrap()));
}

#[test]
fn what_is_foreign_or_old_is_refused() {
    let (ours, theirs) = (authority(Duration::from_secs(1)), authority(LIFETIME));
    let (node, request) = (NodeId::generate(), Request::parse(&request().1).unwrap());
    let foreign = theirs.issue(&request, node, "default").unwrap();
    assert_eq!(ours.check(&foreign.certificate), Err(CertificateRefusal::Foreign));
    assert_eq!(ours.check_expired(&foreign.certificate), Err(CertificateRefusal::Foreign));
    let issued = ours.issue(&request, node, "default").unwrap();
    std::thread::sleep(Duration::from_millis(2_100));
    assert!(matches!(ours.check(&issued.certificate), Err(CertificateRefusal::Expired { node: of, .. }) if of == node));
    assert!(ours.check_expired(&issued.certificate).is_ok());
    // A control plane's own certificate is none of a node.
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let server = ours.issue_server(&["localhost".to_owned()], &key).unwrap();
    assert_eq!(ours.check(&server), Err(CertificateRefusal::Foreign));
    for garbage in [&b""[..], b"\x30\x03abc", &issued.certificate[..100]] {
        assert_eq!(ours.check(garbage), Err(CertificateRefusal::Foreign));
    }
}

#[test]
fn requests_are_read_with_care() {
    let (_, mut der) = request();
    assert!(Request::parse(&der).is_ok());
    *der.last_mut().unwrap() ^= 1;
    assert!(Request::parse(&der).is_err(), "a signature that is not good");
    assert!(Request::parse(&[0; LARGEST_REQUEST + 1]).is_err());
    assert!(Request::parse(b"no request").is_err());
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    assert!(matches!(Request::parse(&der), Err(CertificateRefusal::Request(text)) if text.contains("P-256")));
}

#[test]
fn the_authority_opens_only_with_its_ring_and_bad_names_are_told() {
    let row = make(&ring("a")).unwrap();
    assert!(matches!(Authority::open(&row, &ring("b"), LIFETIME), Err(AuthorityError::Vault(_))));
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(NodePortTls::new(authority(LIFETIME), &names(&["control.example", "10.0.0.1"])).is_ok());
    let Err(error) = NodePortTls::new(authority(LIFETIME), &names(&["höst"])) else { panic!("a name that is none") };
    assert!(error.to_string().contains("höst"), "{error}");
    assert_eq!(fingerprint(b"").len(), 64);
}
