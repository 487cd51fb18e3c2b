//! What is wrong with a peer's certificate, in words that say what to do.

use rustls::CertificateError;

/// Why a handshake failed.
pub(in crate::net) fn explain(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    use rustls::Error;

    match error {
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "nobody that this node trusts signed the peer's certificate (is it self-signed?); \
             put who did into ca or client_ca of [sip.tls]"
                .to_owned()
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the peer's certificate has ended".to_owned()
        }
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the peer's certificate is not valid yet; is the clock right?".to_owned()
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("{error}: write the trunk's host as its certificate has it")
        }
        // rustls says so of a certificate that signed itself and calls itself an authority.
        Error::InvalidCertificate(Bad::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the peer's certificate is that of an authority (is it self-signed?)".to_owned()
        }
        Error::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        other => other.to_string(),
    }
}

/// The same of an error that a connection gave.
pub(in crate::net) fn explain_io(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.map_or_else(|| error.to_string(), explain)
}
