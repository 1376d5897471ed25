//! What profiles take from a command besides (`[sandbox]`): it holds for root too, outside nothing changes, the
//! report says it, and what cannot be had stops the start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::world::World;
use crate::runner::Story;

/// Documented statuses of cordon.
const NOT_ENFORCED: i32 = 120;
const USAGE: i32 = 121;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("sandbox_table::tmp_is_the_jobs_own", private_tmp),
        Story::new(
            "sandbox_table::what_is_hidden_cannot_be_read_by_root",
            hidden,
        ),
        Story::new(
            "sandbox_table::credentials_of_the_host_and_the_home_are_hidden",
            credentials,
        ),
        Story::new(
            "sandbox_table::what_is_read_only_cannot_be_written_by_root_nor_made_writable",
            read_only,
        ),
        Story::new(
            "sandbox_table::nothing_but_what_is_writable_can_be_written",
            writable,
        ),
        Story::new(
            "sandbox_table::capabilities_are_those_on_every_list",
            capabilities,
        ),
        Story::new(
            "sandbox_table::in_a_user_namespace_root_has_its_own_files_and_no_others",
            users,
        ),
        Story::new("sandbox_table::mistakes_stop_the_start", mistakes),
    ]
}

/// A directory of the world that everybody may write to, with one file.
fn directory(world: &World, name: &str) -> Result<PathBuf> {
    let path = world.path(name);
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let file = path.join("file");
    fs::write(&file, "here\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

/// A script under a profile with this table.
fn job<'w>(world: &'w World, name: &str, table: &str, script: &str) -> Result<Job<'w>> {
    let profile = world.profile(name, &format!("[sandbox]\n{table}"))?;
    Ok(world
        .job()
        .command(["/bin/sh", "-c", script])
        .profile(profile))
}

/// The same script without cordon: what it shows then is what the profile must take.
fn free(world: &World, script: &str) -> Result<String> {
    let finished = world.job().command(["/bin/sh", "-c", script]).run()?;
    Ok(finished.stdout)
}

/// The words of a layer, which must be active.
fn layer(finished: &Finished, name: &str) -> Result<String> {
    let report = finished.report()?;
    let mut layers = report.coverage.layers.into_iter();
    let layer = layers.find(|layer| layer.name == name);
    let layer = layer.with_context(|| format!("no layer `{name}`"))?;
    ensure!(layer.active, "{layer:?}");
    Ok(layer.detail)
}

/// A file outside the world, which goes with the story.
struct Mark(PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

fn private_tmp(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let mark = format!("cordon-story-{}", std::process::id());
    // Something of others in each of them, without which an empty one proves nothing; the world is in the first.
    let others = ["/var/tmp", "/dev/shm"].map(|directory| Mark(Path::new(directory).join(&mark)));
    for Mark(path) in &others {
        fs::write(path, "")?;
    }
    let script =
        format!("ls -A /tmp /var/tmp /dev/shm; echo mine > /tmp/{mark} && cat /tmp/{mark}");
    for user in [None, Some(65_534)] {
        let mut job = job(&world, "tmp", "private_tmp = true", &script)?;
        if let Some(user) = user {
            job = job.user(user);
        }
        let finished = job.run()?.expect_status(0)?;
        ensure!(
            finished.stdout == "/dev/shm:\n\n/tmp:\n\n/var/tmp:\nmine\n",
            "{user:?} sees {:?}",
            finished.stdout
        );
        ensure!(!Path::new("/tmp").join(&mark).exists(), "it shows outside");
        let detail = layer(&finished, "private tmp")?;
        ensure!(
            detail.contains("/tmp, ") && detail.contains("/dev/shm"),
            "{detail}"
        );
    }
    // Without the key, the same directory is everybody's: the world itself lies in it.
    let inside = world.path("shared");
    fs::write(&inside, "")?;
    let script = format!("test -e {}", inside.display());
    job(&world, "open", "private_tmp = false", &script)?
        .run()?
        .expect_status(0)?;
    job(&world, "tmp", "private_tmp = true", &script)?
        .run()?
        .expect_status(1)?;
    world.nothing_left()
}

fn hidden(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (secret, other) = (directory(&world, "secret")?, directory(&world, "other")?);
    let table = format!(
        "hide = [\"{}\", \"{}/file\", \"/nonexistent/at/all\"]",
        secret.display(),
        other.display()
    );
    let script = format!(
        "cat {0}/file; cat {1}/file; ls {0}; umount {0}; echo more >> {1}/file; cat {1}/file",
        secret.display(),
        other.display()
    );
    ensure!(free(&world, &format!("cat {}/file", secret.display()))? == "here\n");
    let finished = job(&world, "hide", &table, &script)?.run()?;
    ensure!(finished.stdout.is_empty(), "{}", finished.stdout);
    // Not even with a mount namespace of its own: what was mounted for it is locked there.
    let script = format!(
        "unshare --user --map-root-user --mount sh -c 'umount {0}; cat {0}/file; umount {1}/file; cat {1}/file'",
        secret.display(),
        other.display()
    );
    let finished = job(&world, "hide", &table, &script)?.user(65_534).run()?;
    ensure!(!finished.stdout.contains("here"), "{}", finished.stdout);
    for directory in [&secret, &other] {
        ensure!(
            fs::read_to_string(directory.join("file"))? == "here\n",
            "changed outside"
        );
    }
    let detail = layer(&finished, "hidden paths")?;
    ensure!(
        detail.contains("-secret")
            && detail.contains("-other/file")
            && !detail.contains("nonexistent"),
        "{detail}"
    );
    world.nothing_left()
}

fn credentials(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let home = directory(&world, "home")?;
    fs::create_dir(home.join(".ssh"))?;
    for name in [".ssh/id_ed25519", ".netrc"] {
        fs::write(home.join(name), "here\n")?;
    }
    let script = "cat $HOME/.ssh/* $HOME/.netrc /etc/shadow; cat $HOME/file";
    let command = ["/bin/sh", "-c", script];
    let outside = world.job().command(command).home(&home).run()?.stdout;
    ensure!(outside.lines().count() > 3, "without cordon: {outside}");
    let profile = world.profile("credentials", "[sandbox]\nhide_credentials = true")?;
    let finished = world
        .job()
        .command(command)
        .home(&home)
        .profile(profile)
        .run()?;
    ensure!(finished.stdout == "here\n", "{}", finished.stdout);
    let detail = layer(&finished, "hidden paths")?;
    ensure!(detail.contains("/etc/shadow"), "{detail}");
    world.nothing_left()
}

fn read_only(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let sealed = directory(&world, "sealed")?;
    let below = sealed.join("below");
    fs::create_dir(&below)?;
    let table = format!("read_only = [\"{}\"]", sealed.display());
    let script = format!(
        "echo more >> {0}/file; touch {0}/new {0}/below/new; rm -f {0}/file; mv {0}/file {0}/gone; cat {0}/file; \
         mount -o remount,rw {0}; touch {0}/new",
        sealed.display()
    );
    let finished = job(&world, "sealed", &table, &script)?.run()?;
    ensure!(finished.stdout == "here\n", "{}", finished.stdout);
    ensure!(
        finished.stderr.contains("Read-only file system"),
        "{}",
        finished.stderr
    );
    let script = format!(
        "unshare --user --map-root-user --mount sh -c 'mount -o remount,bind,rw {0}; umount {0}; touch {0}/new'",
        sealed.display()
    );
    let inside = job(&world, "sealed", &table, &script)?.user(65_534).run()?;
    let mut left: Vec<String> = Vec::new();
    for entry in fs::read_dir(&sealed)? {
        left.push(entry?.file_name().to_string_lossy().into_owned());
    }
    left.sort();
    ensure!(left == ["below", "file"], "{left:?}: {}", inside.stderr);
    ensure!(fs::read_dir(&below)?.next().is_none(), "written below");
    // The same is possible outside, and in a job without the key.
    let script = format!("echo more >> {}/file", sealed.display());
    job(&world, "open", "read_only = []", &script)?
        .run()?
        .expect_status(0)?;
    ensure!(fs::read_to_string(sealed.join("file"))? == "here\nmore\n");
    let detail = layer(&finished, "read-only paths")?;
    ensure!(detail.contains("-sealed"), "{detail}");
    world.nothing_left()
}

fn writable(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (work, other) = (directory(&world, "work")?, directory(&world, "other")?);
    let table = format!("writable = [\"{}\"]", work.display());
    let script = format!(
        "echo a > {0}/new; echo null > /dev/null && echo null; echo b >> {1}/file; true > {1}/file; touch {1}/new; \
         rm -f {1}/file; ln {0}/file {1}/link; mv {0}/file {1}/moved; mkdir {1}/dir; sh -c 'echo c > {1}/child'; \
         cat {1}/file",
        work.display(),
        other.display()
    );
    for user in [None, Some(65_534)] {
        let mut job = job(&world, "writable", &table, &script)?;
        if let Some(user) = user {
            job = job.user(user);
        }
        let finished = job.run()?;
        ensure!(
            finished.stdout == "null\nhere\n",
            "{user:?}: {}",
            finished.stdout
        );
        ensure!(fs::read_to_string(work.join("new"))? == "a\n");
        fs::remove_file(work.join("new"))?;
        let there = fs::read_dir(&other)?.count();
        ensure!(
            there == 1,
            "{user:?} left {there} entries: {}",
            finished.stderr
        );
        let detail = layer(&finished, "writable paths")?;
        ensure!(detail.contains("-work"), "{detail}");
    }
    // Of two profiles, what both leave.
    let both = format!(
        "writable = [\"{}\", \"{}\"]",
        work.display(),
        other.display()
    );
    let both = world.profile("both", &format!("[sandbox]\n{both}"))?;
    let script = format!(
        "echo a > {}/new; echo b > {}/new",
        work.display(),
        other.display()
    );
    job(&world, "writable", &table, &script)?
        .profile(both)
        .run()?;
    ensure!(work.join("new").exists() && !other.join("new").exists());
    // And without any list the script can do all of it.
    free(&world, &format!("echo b > {}/new", other.display()))?;
    ensure!(other.join("new").exists());
    let table = format!("writable = [\"{}\"]", world.path("missing").display());
    let finished = job(&world, "missing", &table, "true")?
        .run()?
        .expect_status(NOT_ENFORCED)?;
    ensure!(
        finished.stderr.contains("which is to be writable"),
        "{}",
        finished.stderr
    );
    world.nothing_left()
}

fn users(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let place = directory(&world, "place")?;
    let other = place.join("of-nobody");
    fs::write(&other, "a secret of nobody's\n")?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(&other, Some(65_534), Some(65_534))?;
    let script = format!(
        "cd {}; echo $(cat /proc/self/uid_map); echo $(cat /proc/self/gid_map); cat of-nobody; \
         touch mine && chown 65534 mine && echo given-away; rm -f mine; \
         su -s /bin/sh nobody -c 'echo became-nobody'; grep CapBnd /proc/self/status",
        place.display()
    );
    // What it proves needs something to take: as root without it, all of that is possible.
    let before = job(&world, "open", "user_namespace = false", &script)?.run()?;
    for words in ["a secret", "given-away", "became-nobody"] {
        ensure!(before.stdout.contains(words), "{}", before.stdout);
    }
    let finished = job(&world, "users", "user_namespace = true", &script)?.run()?;
    let mut lines = finished.stdout.lines();
    ensure!(lines.next() == Some("0 0 1") && lines.next() == Some("0 0 1"));
    let bounding = lines.next().and_then(|line| line.split_once(":\t"));
    let bounding = u64::from_str_radix(bounding.context("no bounding set")?.1, 16)?;
    ensure!(lines.next().is_none(), "{}", finished.stdout);
    // Making one gives its maker all of them: CAP_SYS_ADMIN is 21, CAP_NET_ADMIN 12, CAP_BPF 39.
    ensure!(
        bounding & (1 << 21 | 1 << 12 | 1 << 39) == 0,
        "{bounding:x}"
    );
    layer(&finished, "user namespace")?;
    let finished = job(&world, "users", "user_namespace = true", &script)?
        .user(65_534)
        .run()?;
    ensure!(
        finished
            .stdout
            .starts_with("65534 65534 1\n65534 65534 1\na secret of nobody's\n"),
        "{}",
        finished.stdout
    );
    // What they take away together.
    let script = "grep ^Cap /proc/self/status | cut -f2";
    let table = "user_namespace = true\ncapabilities = [\"chown\"]";
    let finished = job(&world, "both", table, script)?.run()?;
    let sets = "0000000000000000\n0000000000000001\n0000000000000001\n0000000000000001\n0000000000000000\n";
    ensure!(finished.stdout == sets, "{}", finished.stdout);
    world.nothing_left()
}

fn capabilities(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let script = "grep ^Cap /proc/self/status";
    let sets = |table: &str, user: Option<u32>| -> Result<Vec<u64>> {
        let mut job = job(&world, "caps", table, script)?;
        if let Some(user) = user {
            job = job.user(user);
        }
        let finished = job.run()?.expect_status(0)?;
        let values = finished
            .stdout
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        values
            .map(|value| Ok(u64::from_str_radix(value, 16)?))
            .collect()
    };
    // Inheritable, permitted, effective, bounding, ambient. CAP_CHOWN is 0, CAP_KILL 5, CAP_SETUID 7.
    let [_, permitted, effective, bounding, _] =
        sets("capabilities = [\"chown\", \"KILL\"]", None)?[..]
    else {
        anyhow::bail!("five sets were expected");
    };
    ensure!(
        [permitted, effective, bounding] == [0x21; 3],
        "{permitted:x} {effective:x} {bounding:x}"
    );
    ensure!(sets("capabilities = []", None)? == [0; 5]);
    // Changing the user needs capabilities that the list does not leave.
    ensure!(sets("capabilities = []", Some(65_534))? == [0; 5]);
    ensure!(sets("capabilities = [\"setuid\"]", Some(65_534))?.get(3) == Some(&0x80));
    let more = world.profile("more", "[sandbox]\ncapabilities = [\"kill\", \"setuid\"]")?;
    let finished = job(
        &world,
        "caps",
        "capabilities = [\"chown\", \"kill\"]",
        script,
    )?
    .profile(more)
    .run()?;
    ensure!(
        finished.stdout.contains("CapBnd:\t0000000000000020"),
        "{}",
        finished.stdout
    );
    let detail = layer(&finished, "capabilities")?;
    ensure!(detail.ends_with("others than kill"), "{detail}");
    world.nothing_left()
}

fn mistakes(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for (table, words) in [
        (
            "capabilities = [\"net_admin\"]",
            "no job can have `net_admin`",
        ),
        ("capabilities = [\"chwon\"]", "did you mean `chown`?"),
        ("hide = [\"etc\"]", "from the root (`/…`)"),
        ("read_only = [\"/a/../b\"]", "without `..`"),
        ("private_tmp = \"yes\"", "must be true or false"),
        ("private = true", "unknown key `private`"),
    ] {
        let finished = job(&world, "wrong", table, "echo ran")?
            .run()?
            .expect_status(USAGE)?;
        ensure!(
            finished.stderr.contains(words) && finished.stdout.is_empty(),
            "{table}: {}",
            finished.stderr
        );
    }
    world.nothing_left()
}
