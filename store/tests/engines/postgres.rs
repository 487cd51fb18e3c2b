//! A PostgreSQL server of the test's own: a data directory and a Unix socket in a temporary folder,
//! nothing on the network.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running server; stopped and removed when dropped.
pub(crate) struct Postgres {
    dir: TempDir,
    bin: PathBuf,
    settings: &'static [&'static str],
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server with these settings, or tells why there is none to start.
    pub(crate) fn start(settings: &'static [&'static str]) -> Result<Self, String> {
        let bin =
            bin_dir().ok_or("no PostgreSQL server is installed (apt-get install postgresql)")?;
        let dir = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        if let Some((uid, gid)) = user() {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let initdb = unprivileged(&bin.join("initdb"))
            .args([
                "--username=postgres",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .arg("--locale=C.UTF-8")
            .arg("-D")
            .arg(dir.path().join("data"))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb failed: {initdb:?}");
        let mut postgres = Self {
            dir,
            bin,
            settings,
            server: None,
        };
        postgres.resume();
        Ok(postgres)
    }

    /// The URL of a database on this server.
    pub(crate) fn url(&self, database: &str) -> String {
        let host = self.dir.path().display();
        format!("postgres:///{database}?host={host}&user=postgres")
    }

    /// Starts the server again after [`Self::pause`].
    pub(crate) fn resume(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = unprivileged(&self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .arg("-k")
            .arg(self.dir.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=50"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().unwrap());

        let socket = self.dir.path().join(".s.PGSQL.5432");
        let end = Instant::now() + Duration::from_secs(60);
        // The socket is there before the server takes connections; the pool's own waiting bridges that.
        while !socket.exists() {
            let log = || fs::read_to_string(self.dir.path().join("log"));
            assert!(
                Instant::now() < end,
                "the server does not start: {:?}",
                log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server's first process, as nothing but a crash does: its children see that and end, each in its
    /// own time. Nothing is put in order, and nothing that was committed is lost.
    pub(crate) fn pause(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let children = format!("/proc/{0}/task/{0}/children", server.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        server.kill().unwrap();
        server.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        for child in children.split_ascii_whitespace() {
            while Path::new("/proc").join(child).exists() && Instant::now() < end {
                sleep(Duration::from_millis(20));
            }
        }
        // What a new one makes is what is waited for.
        drop(fs::remove_file(self.dir.path().join(".s.PGSQL.5432")));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Where `postgres` and `initdb` are: on the path, or where Debian puts them, the newest first.
fn bin_dir() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut debian: Vec<_> = debian
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort();
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file())
        // initdb looks for its files relative to itself, so a link on the path must be followed.
        .and_then(|dir| dir.join("postgres").canonicalize().ok())
        .and_then(|file| file.parent().map(Path::to_owned))
}

/// Whom to run as: PostgreSQL refuses root. `None` where the test is not root itself.
fn user() -> Option<(u32, u32)> {
    let id = |name: &str| {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
        Some((ids.next()?, ids.next()?))
    };
    let root = fs::metadata("/proc/self").is_ok_and(|proc| {
        use std::os::unix::fs::MetadataExt;
        proc.uid() == 0
    });
    root.then(|| {
        id("postgres")
            .or_else(|| id("nobody"))
            .expect("a user that is not root")
    })
}

fn unprivileged(program: &Path) -> Command {
    match user() {
        Some((uid, gid)) => {
            let mut command = Command::new(program);
            command.uid(uid).gid(gid);
            command
        }
        None => Command::new(program),
    }
}
