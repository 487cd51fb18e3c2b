//! What this machine says to a configuration: addresses, devices, files, rights.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use control::{
    Config,
    config::{DEFAULT_INTERFACE, DatapathMode, Jwks, Listen, Transport},
    privileges::{Privileges, missing_for_xdp, wants_xdp},
};
use mediad::xdp::{PIN_ROOT, is_interface, veth_warning};

/// One line for each thing that would not work here and now.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    sip(config, &mut warnings);
    if let Err(error) = signaling::check_certificates(config) {
        warnings.push(error.to_string());
    }
    media(config, &mut warnings);
    api(config, &mut warnings);
    data_dir(&config.node.data_dir, &mut warnings);
    if let Err(error) = Privileges::node(config) {
        warnings.push(error.to_string());
    }
    warnings
}

fn sip(config: &Config, warnings: &mut Vec<String>) {
    let media = config.media.ports.ports();
    for listen in &config.sip.listen {
        if let Err(error) = bind(*listen) {
            warnings.push(format!("[sip] listen = \"{listen}\": {}", explain(&error)));
        }
        let same = listen.transport == Transport::Udp && media.contains(&listen.address.port());
        if same {
            warnings.push(format!(
                "[sip] listen = \"{listen}\" lies in [media] ports = \"{}\": \
                 move one of them, or calls will fail to get that port",
                config.media.ports
            ));
        }
    }
}

fn media(config: &Config, warnings: &mut Vec<String>) {
    for (name, addresses) in config.media.addresses() {
        let place = match name {
            DEFAULT_INTERFACE => "[media]".to_owned(),
            name => format!("[[media.interfaces]] '{name}':"),
        };
        for (address, _) in addresses.pairs() {
            if let Err(error) = UdpSocket::bind((*address, 0)) {
                let why = explain(&error);
                warnings.push(format!("{place} address = \"{address}\": {why}"));
            }
        }
    }
    let is_native = matches!(
        config.media.datapath,
        DatapathMode::Auto | DatapathMode::Xdp
    );
    for name in &config.media.devices() {
        if !is_interface(name) {
            warnings.push(format!(
                "[media] interface = \"{name}\": there is no such device here; 'ip link' lists them"
            ));
        } else if let Some(warning) = veth_warning(name).filter(|_| is_native) {
            warnings.push(format!("[media] interface: {warning}"));
        }
    }
    if wants_xdp(config) {
        xdp(warnings);
    }
    let wants_uring = matches!(
        config.media.datapath,
        DatapathMode::Auto | DatapathMode::IoUring
    );
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if wants_uring && disabled.is_ok_and(|value| matches!(value.trim(), "1" | "2")) {
        warnings.push(
            "[media] datapath: this kernel forbids io_uring (sysctl kernel.io_uring_disabled), \
             so packets that XDP does not take go over plain sockets"
                .to_owned(),
        );
    }
}

fn xdp(warnings: &mut Vec<String>) {
    let missing = missing_for_xdp().join(",");
    if !missing.is_empty() {
        warnings.push(format!(
            "[media] datapath: this process lacks {missing}, which XDP needs: start as root, or \
             'setcap cap_bpf,cap_net_admin,cap_perfmon=ep' on the program; check as the user that runs the node"
        ));
    }
    let nearest = Path::new(PIN_ROOT).ancestors().find(|path| path.exists());
    let may_pin = nearest.and_then(|path| fs::metadata(path).ok());
    if !may_pin.is_some_and(|meta| writable(&meta)) {
        warnings.push(format!(
            "[media] datapath: this user may not write to {PIN_ROOT}, so calls would not flow on while mediad \
             restarts; as root: 'install -d -o USER {PIN_ROOT}' and 'chmod o+x /sys/fs/bpf'"
        ));
    }
}

fn api(config: &Config, warnings: &mut Vec<String>) {
    if let Err(error) = TcpListener::bind(config.api.listen) {
        let listen = config.api.listen;
        warnings.push(format!("[api] listen = \"{listen}\": {}", explain(&error)));
    }
    if let Some(Err(error)) = config.api.tls.as_ref().map(api::Tls::load) {
        warnings.push(error.to_string());
    }
    if let Some(Jwks::File(path)) = config.api.jwt.as_ref().and_then(|jwt| jwt.jwks.as_ref())
        && let Err(error) = fs::File::open(path)
    {
        warnings.push(format!("[api.jwt] jwks = \"{}\": {error}", path.display()));
    }
}

fn data_dir(path: &Path, warnings: &mut Vec<String>) {
    // What is missing is made at the start, inside the nearest directory that is there.
    let Some(nearest) = path.ancestors().find(|path| path.exists()) else {
        return;
    };
    match fs::metadata(nearest) {
        Ok(meta) if !meta.is_dir() => warnings.push(format!(
            "[node] data_dir = \"{}\": {} is not a directory",
            path.display(),
            nearest.display()
        )),
        Ok(meta) if !writable(&meta) => warnings.push(format!(
            "[node] data_dir = \"{}\": this user may not write to {}",
            path.display(),
            nearest.display()
        )),
        Ok(_) => {}
        Err(error) => warnings.push(format!("[node] data_dir = \"{}\": {error}", path.display())),
    }
}

fn bind(listen: Listen) -> io::Result<()> {
    let address: SocketAddr = listen.address;
    match listen.transport {
        Transport::Udp => UdpSocket::bind(address).map(drop),
        _ => TcpListener::bind(address).map(drop),
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 'ip address' lists them".to_owned()
        }
        ErrorKind::AddrInUse => "in use by another process, maybe a node that runs".to_owned(),
        ErrorKind::PermissionDenied => "this user may not take that port".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the mode bits let this process write; access lists and capabilities but root's are not
/// looked at.
fn writable(meta: &fs::Metadata) -> bool {
    let Some((uid, gid)) = identity() else {
        return true;
    };
    let shift = if meta.uid() == uid {
        6
    } else if meta.gid() == gid {
        3
    } else {
        0
    };
    uid == 0 || meta.mode() >> shift & 0o2 != 0
}

/// The effective user and group.
fn identity() -> Option<(u32, u32)> {
    let meta = fs::metadata("/proc/self").ok()?;
    Some((meta.uid(), meta.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that no machine has (RFC 5737).
    const NOWHERE: &str = "192.0.2.1";

    fn of(text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[node]\ndata_dir = \"{}\"\n{text}", dir.path().display());
        warnings(&Config::parse(&text, []).unwrap().config)
    }

    #[test]
    fn addresses_and_devices_that_are_not_here_are_told() {
        let warnings = of(&format!(
            "[sip]\nlisten = [\"udp:{NOWHERE}:5060\"]\n\
             [media]\naddress = \"{NOWHERE}\"\ninterface = \"nosuch0\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\n"
        ));
        assert_eq!(warnings.len(), 3, "{warnings:#?}");
        assert!(warnings[0].contains("no such address"), "{}", warnings[0]);
        assert!(
            warnings[1].starts_with("[media] address"),
            "{}",
            warnings[1]
        );
        assert!(warnings[2].contains("ip link"), "{}", warnings[2]);
    }

    #[test]
    fn a_port_in_use_and_a_port_among_the_media_ports_are_told() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap();
        let warnings = of(&format!(
            "[sip]\nlisten = [\"udp:{taken}\"]\n\
             [media]\nports = \"1024-65535\"\n[api]\nlisten = \"127.0.0.1:0\"\n"
        ));
        // The test holds the port, so the first line must be about that.
        assert!(warnings[0].contains("in use"), "{warnings:#?}");
        assert!(warnings[1].contains("[media] ports"), "{warnings:#?}");
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut warnings = Vec::new();
        data_dir(&file.path().join("sub"), &mut warnings);
        assert!(warnings[0].contains("is not a directory"), "{warnings:?}");
    }
}
