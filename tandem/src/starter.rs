//! The configuration that a new user starts with: everything on loopback, one trunk for first calls.

use std::path::Path;

/// Where the data is when there is no configuration file, under the working directory.
pub(crate) const DATA_DIR: &str = "tandem-data";

/// Where the starter's only trunk takes calls, and `tandem answer` by default.
pub(crate) const TRUNK: &str = "127.0.0.1:5090";

/// The starter configuration, with its data in `data_dir`.
pub(crate) fn text(data_dir: &Path) -> String {
    // A TOML basic string; a path that is not UTF-8 could not be written in any way.
    let data_dir = data_dir
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    TEMPLATE
        .replace("@DATA_DIR@", &data_dir)
        .replace("@TRUNK@", TRUNK)
}

const TEMPLATE: &str = r#"# A Tandem node. 'tandem check-config FILE' checks this file; the environment's TANDEM_SECTION_KEY
# replaces a key, such as TANDEM_SIP_LISTEN="udp:10.0.0.1:5060".

[node]
name = "n1"
data_dir = "@DATA_DIR@"     # database, admin key, control sockets

[sip]
# Where SIP is received. For peers on other machines name an address that they reach.
listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
# domains = ["example.test"]      # names that mean this node, beside its addresses and users' domains

[media]
# Where RTP is received; "IP/PUBLIC_IP" behind a 1:1 NAT.
address = "127.0.0.1"
ports = "20000-29999"             # four for each call
# interface = "eth0"              # where the XDP program is attached; none: no XDP
datapath = "auto"                 # or xdp, xdp-generic, io-uring, sockets: that one or no start
timeout = 60                      # seconds without a packet until a call is ended; 0: never

[api]
# REST at /v1, /metrics, /healthz, /readyz. Put a TLS proxy before it where it leaves this machine.
listen = "127.0.0.1:8080"
# admin_key = "..."               # default: random, shown at the first start, kept in data_dir

[store]
url = "sqlite:tandem.db"          # or postgres://USER:PASSWORD@HOST/DATABASE
# cache = 32                      # MiB of a SQLite database that are kept in memory for writing
# keep_cdrs = 400                 # days of records of calls; default: for ever

# Who may register, call and be called: two phones to begin with. Without a password here, one is made and
# shown when the user is made, at the first start; 'tandem users' adds and changes users from then on.
[[users]]
name = "alice"
domain = "127.0.0.1"

[[users]]
name = "bob"
domain = "127.0.0.1"

# A carrier or a switch. This one is for first steps: 'tandem answer' takes its calls.
[[trunks]]
name = "local"
hosts = ["@TRUNK@"]        # where calls to it go, tried in order
allow = ["127.0.0.1/32"]          # where calls from it come from

# Which numbers go where: the longest prefix wins, and "" is every number.
[[routes]]
prefix = ""
trunks = ["local"]
ring_timeout = 60                 # seconds from INVITE to an answer
"#;

#[cfg(test)]
mod tests {
    use control::Config;

    use super::*;

    #[test]
    fn the_starter_is_a_configuration_without_a_warning() {
        let text = text(Path::new("/tmp/a \"b\" \\c"));
        let loaded = Config::parse(&text, []).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let config = loaded.config;
        assert_eq!(config.node.data_dir, Path::new("/tmp/a \"b\" \\c"));
        assert_eq!(config.trunks[0].hosts[0].host.port_or_default(), 5090);
        assert!(
            config
                .sip
                .listen
                .iter()
                .all(|l| l.address.ip().is_loopback())
        );
        assert!(config.api.listen.ip().is_loopback());
        assert_eq!(config.api.admin_key, None);
    }
}
