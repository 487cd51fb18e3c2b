//! Files that a process reads again while it runs, on a reload: whether it still may, as whom it has become.
//!
//! What root could read when it started, the user that it became may not, nor root itself once it has dropped the
//! right to ignore owners. Nobody would know before the reload that fails, long after.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf, absolute},
};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

use crate::config::{CertificateFiles, Config, Jwks};

/// A file that is closed to this process.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    error: io::Error,
    /// The folder that keeps it from the file, where the file itself is not to blame.
    folder: Option<PathBuf>,
    user: Uid,
    group: Gid,
}

/// Tells the log of each file that this start or a reload would fail by, for it is closed to this user: the
/// configuration's own, and those that it names. To be called once privileges are dropped. Of what is wrong otherwise
/// the start tells itself.
pub fn warn_of_unreadable<'a>(file: Option<&'a Path>, named: impl IntoIterator<Item = &'a Path>) {
    for path in file.into_iter().chain(named) {
        if let Err(unreadable) = can_be_read(path) {
            tracing::warn!("{unreadable}");
        }
    }
}

/// What `[sip]` names.
pub fn of_sip(config: &Config) -> Vec<&Path> {
    let tls = &config.sip.tls;
    let mut files: Vec<_> = tls.certificates.iter().flat_map(pair).collect();
    files.extend(tls.client.iter().flat_map(pair));
    files.extend(tls.client_ca.as_deref());
    files.extend(tls.ca.as_deref());
    files
}

/// What `[api]` names.
pub fn of_api(config: &Config) -> Vec<&Path> {
    let mut files: Vec<_> = config.api.tls.iter().flat_map(pair).collect();
    let jwks = config.api.jwt.as_ref().and_then(|jwt| jwt.jwks.as_ref());
    if let Some(Jwks::File(path)) = jwks {
        files.push(path);
    }
    files
}

fn pair(files: &CertificateFiles) -> [&Path; 2] {
    [&files.certificate, &files.key]
}

/// # Errors
/// Why not.
fn can_be_read(path: &Path) -> Result<(), Unreadable> {
    let error = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        _ => return Ok(()),
    };
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut above: Vec<_> = whole.ancestors().skip(1).collect();
    above.reverse();
    // What is in a folder is seen by who may pass through it.
    let is_closed = |folder: &&Path| {
        let inside = fs::metadata(folder.join("."));
        inside.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    Err(Unreadable {
        path: whole.clone(),
        error,
        folder: above.into_iter().find(is_closed).map(Path::to_owned),
        user: geteuid(),
        group: getegid(),
    })
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error, .. } = self;
        let user = User::from_uid(self.user).ok().flatten();
        let user = user.map_or_else(|| self.user.to_string(), |user| user.name);
        let group = Group::from_gid(self.group).ok().flatten();
        let group = group.map_or_else(|| self.group.to_string(), |group| group.name);
        let path = path.display();
        write!(
            f,
            "user {user} cannot read {path}, so that a start or a reload fails: {error}"
        )?;
        match &self.folder {
            Some(folder) => {
                let folder = folder.display();
                write!(
                    f,
                    "; {folder} is closed to it: 'chgrp {group} {folder} && chmod g+x {folder}'"
                )
            }
            None => write!(f, "; 'chgrp {group} {path} && chmod g+r {path}' lets it"),
        }?;
        match self.user.is_root() {
            true => f.write_str(" (the right to ignore owners is dropped at the start)"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;
    use crate::privileges::Privileges;

    /// What there is to say of a file once a thread has dropped its privileges.
    fn told(path: PathBuf) -> Option<String> {
        let config = Config::parse("", []).unwrap().config;
        let shed = move || {
            Privileges::api(&config).unwrap().shed(&config).unwrap();
            can_be_read(&path).err().map(|error| error.to_string())
        };
        std::thread::spawn(shed).join().unwrap()
    }

    #[test]
    fn whom_a_file_is_closed_to_and_what_to_do_is_told() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("etc");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("a.toml");
        assert_eq!(told(path.clone()), None);
        fs::write(&path, "").unwrap();
        assert_eq!(told(path.clone()), None);
        // Of somebody else, where this is root; else nobody may.
        let close = |what: &Path, mode| {
            if geteuid().is_root() {
                chown(what, Some(65_534), Some(65_534)).unwrap();
            }
            fs::set_permissions(what, fs::Permissions::from_mode(mode)).unwrap();
        };
        close(&path, 0o200);
        let closed = told(path.clone()).unwrap();
        let hint = format!("&& chmod g+r {}'", path.display());
        assert!(
            closed.starts_with("user ") && closed.contains(&hint),
            "{closed}"
        );
        close(&folder, 0o600);
        let closed = told(path).unwrap();
        let hint = format!("; {} is closed to it: 'chgrp ", folder.display());
        assert!(closed.contains(&hint), "{closed}");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn each_file_that_is_named_is_looked_at() {
        let text = "[sip.tls]\ncertificates = [{ certificate = \"/a\", key = \"/b\" }]\nca = \"/c\"\n\
                    client_ca = \"/d\"\nclient_auth = \"optional\"\nclient = { certificate = \"/e\", key = \"/f\" }\n\
                    [api]\ntls = { certificate = \"/g\", key = \"/h\" }\n";
        let config = Config::parse(text, []).unwrap().config;
        assert_eq!(
            of_sip(&config),
            ["/a", "/b", "/e", "/f", "/d", "/c"].map(Path::new)
        );
        assert_eq!(of_api(&config), ["/g", "/h"].map(Path::new));
    }
}
