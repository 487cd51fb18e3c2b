//! What mediad does as root, before it gives up being that.

use std::io;

use control::{
    Config,
    privileges::{PrivilegeError, Privileges, Shed, wants_xdp},
};
use tracing::warn;

use crate::{limits, xdp};

/// A process that has dropped its privileges, and has not told so yet.
#[derive(Debug)]
pub struct Dropped {
    shed: Shed,
    prepared: io::Result<()>,
}

/// Raises limits and makes folders ready while it may, and drops all privileges that are not needed then. To be called
/// before the process has a second thread, its log's included.
///
/// # Errors
/// [`PrivilegeError`]; the process must end then.
pub fn drop_privileges(config: &Config, privileges: Privileges) -> Result<Dropped, PrivilegeError> {
    let prepared = privileges
        .owner()
        .map_or(Ok(()), |owner| prepare(config, owner));
    let shed = privileges.shed(config)?;
    Ok(Dropped { shed, prepared })
}

fn prepare(config: &Config, owner: (u32, u32)) -> io::Result<()> {
    limits::raise_open_files(limits::files_for(config.media.ports.ports().len()));
    match wants_xdp(config) {
        true => xdp::prepare(&config.node.name, owner),
        false => Ok(()),
    }
}

impl Dropped {
    /// Tells the log.
    pub fn tell(&self) {
        self.shed.tell();
        if let Err(error) = &self.prepared {
            warn!(%error, "the folder for XDP's pins could not be made ready: calls may not keep flowing while \
                mediad restarts");
        }
    }
}
