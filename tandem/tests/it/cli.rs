//! What the commands say and how they end, where no node runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use crate::common::{json, output, tandem};

#[test]
fn a_good_configuration_passes_and_a_bad_one_names_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tandem.toml");
    let init = tandem(["init"]).arg(dir.path()).output().unwrap();
    assert!(init.status.success(), "{}", output(&init));
    let good = tandem(["check-config"])
        .arg(&path)
        .arg("--json")
        .output()
        .unwrap();
    assert!(good.status.success(), "{}", output(&good));
    assert_eq!(json(&good)["ok"], true);
    assert_eq!(json(&good)["errors"], serde_json::json!([]));

    fs::write(
        &path,
        "[sip]\nt1 = 1\n[media]\ndatapath = \"xdp\"\n[[routes]]\ntrunks = [\"nowhere\"]\n",
    )
    .unwrap();
    let bad = tandem(["check-config"]).arg(&path).output().unwrap();
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(said.contains("error: [sip] t1 = 1"), "{said}");
    assert!(said.contains("error: [media] datapath"), "{said}");
    assert!(
        said.contains("error: route '': there is no trunk 'nowhere'"),
        "{said}"
    );
    assert!(said.ends_with("cannot be used: 3 errors\n"), "{said}");

    fs::write(
        &path,
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nlisen = 1\n",
    )
    .unwrap();
    let unknown = tandem(["check-config"]).arg(&path).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert!(said.contains("lisen") && said.contains("line 3"), "{said}");

    fs::write(
        &path,
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[store]\nurl = \"mysql://u:secret@h/d\"\n\
         [api]\nadmin_key = \"weakkey\"\n",
    )
    .unwrap();
    let store = tandem(["check-config"]).arg(&path).output().unwrap();
    assert_eq!(store.status.code(), Some(1));
    let said = String::from_utf8_lossy(&store.stdout).into_owned();
    let wanted = "error: [store] url: unknown engine 'mysql'; write sqlite:FILE or postgres://";
    assert!(said.contains(wanted) && !said.contains("secret"), "{said}");
    let wanted = "error: [api] admin_key: write at least 8";
    assert!(said.contains(wanted) && !said.contains("weakkey"), "{said}");
    fs::write(&path, "[node]\ndata_dir = \"\"\n").unwrap();
    let nowhere = tandem(["check-config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&nowhere.stdout).into_owned();
    assert!(said.contains("error: [node] data_dir"), "{said}");

    let missing = tandem(["check-config", "/nowhere.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn a_command_that_finds_no_node_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}/signal.sock", dir.path().display());
    for command in [
        vec!["status"],
        vec!["calls"],
        vec!["drain"],
        vec!["calls", "hangup", "x"],
    ] {
        let failed = tandem(&command)
            .args(["--control", &socket])
            .output()
            .unwrap();
        assert_eq!(
            failed.status.code(),
            Some(1),
            "{command:?}: {}",
            output(&failed)
        );
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(
            said.contains(&socket) && said.contains("tandem run"),
            "{said}"
        );
        assert!(failed.stdout.is_empty());
    }
    let wrong = tandem(["status", "--control", "/run/x.sock"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("unix:"));
}

#[test]
fn the_help_of_every_command_has_examples() {
    let help = tandem(["--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("First steps:") && help.contains("Exit codes:"),
        "{help}"
    );
    let (_, list) = help.split_once("Commands:").unwrap();
    let commands = list.lines().map_while(|line| {
        if line.is_empty() {
            return Some(None);
        }
        line.starts_with("  ")
            .then(|| line.split_whitespace().next())
    });
    let commands: Vec<&str> = commands.flatten().filter(|name| *name != "help").collect();
    assert!(
        commands.contains(&"run") && commands.contains(&"call"),
        "{commands:?}"
    );
    for command in commands {
        let help = tandem([command, "--help"]).output().unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tandem.toml");
    // More than a pipe holds.
    let mut text = String::new();
    for index in 0..20_000 {
        text += &format!("[[trunks]]\nname = \"a-rather-long-trunk-name-{index}\"\n");
    }
    fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let mut child = tandem(["check-config"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // Standard output is closed now.
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", output(&ended));
    assert!(ended.stderr.is_empty(), "{}", output(&ended));
}

#[test]
fn shells_complete_commands_and_options() {
    for (shell, part) in [
        ("bash", "tandem__subcmd__numbers__subcmd__add"),
        ("zsh", "'--forward-no-answer=["),
        ("fish", "-l voice-url"),
    ] {
        let script = tandem(["completion", shell]).output().unwrap();
        assert!(script.status.success(), "{}", output(&script));
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains(part), "{shell}: {script}");
    }
    // A shell that is there takes its own; one that is not needs none.
    let script = tandem(["completion", "bash"]).output().unwrap().stdout;
    let path = tempfile::tempdir().unwrap();
    let file = path.path().join("tandem.bash");
    fs::write(&file, script).unwrap();
    let asked = "source \"$1\"; COMP_WORDS=(tandem numbers s); COMP_CWORD=2; \
                 _tandem tandem s numbers; echo \"${COMPREPLY[@]}\"";
    let told = Command::new("bash")
        .args(["-c", asked, "bash"])
        .arg(&file)
        .output();
    let told = told.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&told.stdout),
        "show set\n",
        "{}",
        output(&told)
    );
}

#[test]
fn every_command_that_prints_has_json() {
    /// What prints no facts: it runs, or what it prints is a document of its own.
    const WITHOUT: [&str; 4] = ["run", "completion", "export", "help"];
    fn check(path: &[&str], checked: &mut usize) {
        let help = tandem(path).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let (_, list) = help.split_once("Commands:\n").unwrap_or_default();
        let commands = list.lines().take_while(|line| !line.is_empty());
        let names: Vec<_> = commands
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if names.is_empty() {
            assert!(help.contains("--json"), "{path:?}: {help}");
            *checked += 1;
        }
        for name in names.into_iter().filter(|name| !WITHOUT.contains(name)) {
            check(&[path, &[name]].concat(), checked);
        }
    }
    let mut checked = 0;
    check(&[], &mut checked);
    assert!(checked > 40, "{checked}");
}
