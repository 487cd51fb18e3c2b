//! `tandem init`: write a first configuration.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    exit::{Exit, Failure},
    output, starter,
};

/// Writes a commented configuration to start with: everything on loopback, one trunk for first calls.
#[derive(Args, Debug)]
#[command(
    after_help = "The data directory is 'data' beside the file. A file that is there is left alone.

Examples:
  tandem init                      writes ./tandem.toml, which 'tandem run' finds by itself
  tandem init /etc/tandem          writes /etc/tandem/tandem.toml
  tandem init target/run/a.toml"
)]
pub(crate) struct InitArgs {
    /// A directory, or a file that ends in .toml
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    place: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print JSON: {"path": ...}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let path = if args.place.extension().is_some_and(|end| end == "toml") {
        args.place.clone()
    } else {
        args.place.join("tandem.toml")
    };
    write(&path, args.force)?;
    let path = path.display().to_string();
    let words = format!("wrote {path}\nstart the node with:  tandem run --config {path}");
    output::done(args.json, &serde_json::json!({ "path": path }), words)
}

fn write(path: &Path, force: bool) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::io(format!("cannot write {}", path.display()), &error);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(cannot)?;
    // Absolute: the file means the same data from wherever a command is typed.
    let data_dir = parent.canonicalize().map_err(cannot)?.join("data");
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(path) {
        Ok(mut file) => file
            .write_all(starter::text(&data_dir).as_bytes())
            .map_err(cannot),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::other(format!(
            "{} is there already; --force replaces it",
            path.display()
        ))),
        Err(error) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use control::Config;

    use super::*;

    #[test]
    fn what_is_written_can_be_read_and_is_not_replaced_by_chance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/tandem.toml");
        write(&path, false).unwrap();
        let loaded = Config::load(&path).unwrap();
        let data_dir = dir.path().canonicalize().unwrap().join("new/data");
        assert_eq!(loaded.config.node.data_dir, data_dir);

        fs::write(&path, "# mine").unwrap();
        let refused = write(&path, false).unwrap_err().to_string();
        assert!(refused.contains("--force"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine");
        write(&path, true).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("[[trunks]]"));
    }
}
