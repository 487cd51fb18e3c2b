//! Which node a command means: by its configuration file, by its control socket, or the one that
//! runs from here.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use control::{
    Config, Endpoint,
    config::{ConfigError, Loaded},
};

use crate::{exit::Failure, starter};

/// Where a configuration is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["tandem.toml", "/etc/tandem/tandem.toml"];

/// How a command finds its node.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeArgs {
    /// The node's configuration [default: ./tandem.toml, then /etc/tandem/tandem.toml]
    #[arg(long, short, value_name = "FILE", env = "TANDEM_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The node's control socket, where there is no configuration at hand, or one that cannot be read
    #[arg(long, value_name = "unix:PATH")]
    control: Option<Endpoint>,
}

impl NodeArgs {
    /// The configuration itself.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Ok(load(self.config.as_deref())?.1.config)
    }

    /// signaling's control endpoint.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(endpoint) = &self.control {
            return Ok(endpoint.clone());
        }
        Ok(self.config()?.signal_endpoint())
    }

    /// mediad's control endpoint, for a command that asks it alone.
    pub(super) fn media_endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(endpoint) = &self.control {
            return Ok(endpoint.clone());
        }
        Ok(self.config()?.media_endpoint())
    }
}

/// signaling's control endpoint, where the configuration was read already.
pub(super) fn endpoint_of(args: &NodeArgs, config: &Config) -> Endpoint {
    let named = args.control.clone();
    named.unwrap_or_else(|| config.signal_endpoint())
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, named or found.
    File(PathBuf),
    /// The built-in starter: there is no file.
    Starter,
}

impl Source {
    /// The words that make another command find the same node, such as `--config a.toml`; empty
    /// where it finds it by itself.
    pub(crate) fn option(&self) -> String {
        match self {
            Self::File(path) if !PLACES.iter().any(|place| Path::new(place) == path) => {
                format!(" --config {}", path.display())
            }
            _ => String::new(),
        }
    }
}

/// Looks for a configuration: the one that is named, the first of the usual places, or none.
pub(crate) fn find_config(named: Option<&Path>) -> Source {
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    named
        .or(found)
        .map_or(Source::Starter, |path| Source::File(path.to_owned()))
}

/// Finds, reads and checks a configuration.
pub(crate) fn load(named: Option<&Path>) -> Result<(Source, Loaded), Failure> {
    let source = find_config(named);
    let loaded = read(&source)?;
    Ok((source, loaded))
}

/// Reads and checks a configuration that was found.
pub(crate) fn read(source: &Source) -> Result<Loaded, Failure> {
    let (path, text) = match source {
        Source::File(path) => {
            let shown = path.display().to_string();
            let text = fs::read_to_string(path).map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => "; 'tandem init' writes a first configuration",
                    _ => "",
                };
                Failure::other(format!("cannot read {shown}: {error}{hint}"))
            })?;
            (shown, text)
        }
        Source::Starter => {
            let here = env::current_dir()
                .map_err(|error| Failure::io("cannot tell the working directory", &error))?;
            let text = starter::text(&here.join(starter::DATA_DIR));
            ("the built-in configuration".to_owned(), text)
        }
    };
    Config::parse(&text, env::vars()).map_err(|error| Failure::Config { path, error })
}

/// As [`load`], with the errors apart from the failure to read.
pub(crate) fn check(path: &Path) -> Result<Loaded, ConfigError> {
    Config::load(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_wins_even_where_it_is_missing() {
        let path = Path::new("/nowhere/tandem.toml");
        assert_eq!(find_config(Some(path)), Source::File(path.to_owned()));
        let failure = load(Some(path)).unwrap_err().to_string();
        assert!(failure.contains("/nowhere/tandem.toml"), "{failure}");
        assert!(failure.contains("tandem init"), "{failure}");
    }

    #[test]
    fn only_a_file_in_an_unusual_place_has_to_be_named_again() {
        let option = |path: &str| Source::File(path.into()).option();
        assert_eq!(
            option("target/run/tandem.toml"),
            " --config target/run/tandem.toml"
        );
        assert_eq!(option("tandem.toml"), "");
        assert_eq!(option("/etc/tandem/tandem.toml"), "");
        assert_eq!(Source::Starter.option(), "");
    }

    #[test]
    fn a_configuration_leads_to_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "[node]\ndata_dir = \"/run/x\"\n").unwrap();
        let args = NodeArgs {
            config: Some(path),
            control: None,
        };
        assert_eq!(
            args.endpoint().unwrap(),
            Endpoint::Unix("/run/x/signal.sock".into())
        );
    }
}
