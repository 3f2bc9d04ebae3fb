//! `scripts/setup.sh` on machines that lack things, played by a directory of fake commands as the whole PATH.

use e2e::ports::{root, tools_dir};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with the real `bash` and friends, and the given fake commands.
fn machine(name: &str, fakes: &[(&str, &str)]) -> PathBuf {
    let dir = tools_dir().join(format!("machine-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    for tool in ["bash", "dirname", "env", "sort", "tee", "chmod", "rm"] {
        let real =
            ["/usr/bin", "/bin"].iter().map(|bin| Path::new(bin).join(tool)).find(|path| path.exists());
        let real = real.unwrap_or_else(|| panic!("no {tool}"));
        drop(std::fs::remove_file(dir.join(tool)));
        symlink(real, dir.join(tool)).expect("link");
    }
    for (tool, script) in fakes {
        let path = dir.join(tool);
        std::fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).expect("fake");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }
    dir
}

fn setup(path: &Path, kind: &str) -> (Option<i32>, String) {
    let script = root().join("scripts/setup.sh");
    let output: Output =
        Command::new("bash").arg(script).arg(kind).env_clear().env("PATH", path).output().expect("bash runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn without_root_the_missing_packages_and_the_one_command_are_printed() {
    let path =
        machine("user", &[("id", "echo 1000"), ("sudo", "exit 1"), ("apt-get", "exit 99"), ("cc", "exit 0")]);
    let (code, said) = setup(&path, "run");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("missing here: make cmake"), "{said}");
    assert!(said.contains("sudo apt-get install -y --no-install-recommends make cmake"), "{said}");
}

#[test]
fn with_sudo_the_missing_packages_are_named_and_installed_and_nothing_else_runs() {
    let here = machine("sudo", &[]);
    let log = here.join("log");
    let fake_apt = format!(
        "echo \"$*\" >> {log}\nfor tool in make cmake cargo; do printf '#!/usr/bin/env bash\\n' > {dir}/$tool; chmod 755 {dir}/$tool; done",
        log = log.display(),
        dir = here.display()
    );
    // `sudo -n` of the script would change /usr/sbin; this one only lets apt-get through.
    let sudo = "shift; case \"$*\" in *apt-get*) \"$@\" ;; *) exit 0 ;; esac";
    let path =
        machine("sudo", &[("id", "echo 1000"), ("sudo", sudo), ("apt-get", &fake_apt), ("cc", "exit 0")]);
    drop(std::fs::remove_file(&log));
    let (code, said) = setup(&path, "run");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("missing here: make cmake"), "{said}");
    let ran = std::fs::read_to_string(&log).expect("apt-get ran");
    assert_eq!(ran, "install -y --no-install-recommends make cmake\n");
    for tool in ["make", "cmake", "cargo"] {
        drop(std::fs::remove_file(path.join(tool)));
    }
}

#[test]
fn where_nothing_is_missing_nothing_is_installed() {
    let tools = ["cc", "make", "cmake", "cargo"].map(|tool| (tool, "exit 0"));
    let path = machine("complete", &[&tools[..], &[("apt-get", "exit 99"), ("id", "echo 0")]].concat());
    let (code, said) = setup(&path, "run");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("missing"), "{said}");
}

#[test]
fn wrong_usage_exits_2() {
    let path = machine("usage", &[]);
    assert_eq!(setup(&path, "everything").0, Some(2));
}
