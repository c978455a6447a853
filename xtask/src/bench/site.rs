//! Pages: a file of 10 KB beside a bare file server over hyper, and a start with a hundred thousand files.

use super::{
    load::{Load, Measured},
    servers::{self, Process},
};
use crate::Outcome;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const FILE_BYTES: usize = 10 * 1024;
const FILES: usize = 100_000;
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn write_app(folder: &Path, address: &str) -> Outcome {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let made = std::fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| std::fs::write(&path, text));
        made.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    let config = format!(
        "master_key = {{ env = \"HAECHI_BENCH_KEY\" }}\n[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\nops_listen = \"127.0.0.1:{}\"\n[site]\nfolder = \"web\"\n[limits]\nsite_per_minute = 10_000_000\n",
        servers::free_port()?
    );
    write("haechi.toml", &config)?;
    write("collections/notes.toml", "[fields]\ntitle = { type = \"text\" }\n")?;
    write("policies/none.cedar", "")?;
    write("web/page.js", &"export const answer = 42; // a line\n".repeat(FILE_BYTES / 36)[..])
}

/// Serves a folder; and how long it took until the first answer.
fn serve(folder: &Path, address: &str) -> Result<(Process, u128), String> {
    let began = Instant::now();
    let mut command = Command::new(servers::built("haechi"));
    command.arg("serve").arg("-C").arg(folder).env("HAECHI_BENCH_KEY", KEY).stdout(Stdio::null()).stderr(Stdio::null());
    let serving = Process::start(&mut command, address.to_owned())?;
    servers::wait(address, "/healthz", Duration::from_secs(30))?;
    Ok((serving, began.elapsed().as_millis()))
}

pub(crate) fn run(rounds: u64, time: Duration) -> Outcome {
    let folder: PathBuf = std::env::temp_dir().join(format!("haechi-site-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let address = format!("127.0.0.1:{}", servers::free_port()?);
    write_app(&folder, &address)?;
    let (haechi, _) = serve(&folder, &address)?;
    let bare = format!("127.0.0.1:{}", servers::free_port()?);
    let raw =
        Process::start(Command::new(servers::built("bench-raw")).arg(format!("files:{}", folder.join("web").display())).arg(&bare), bare.clone())?;
    servers::wait(&bare, "/page.js", Duration::from_secs(10))?;
    let load = Load::of_files();
    let (mut ours, mut theirs): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(load.measure("file", &haechi, time)?);
        theirs.push(load.measure("file", &raw, time)?);
    }
    let (ours, theirs) = (Measured::median(ours), Measured::median(theirs));
    println!("a file of 10 KB     {:>10} {:>9} {:>9}", "requests/s", "CPU µs", "p99 ms");
    for (name, found) in [("haechi", ours), ("bare hyper", theirs)] {
        println!("{name:<19} {:>10.0} {:>9.1} {:>9.2}", found.rate, found.cpu_us, found.p99_ms);
    }
    println!("rate {:.2} of the bare server's, CPU {:.2}", ours.rate / theirs.rate, ours.cpu_us / theirs.cpu_us);
    drop((haechi, raw));
    let many = folder.join("web/many");
    std::fs::create_dir_all(&many).map_err(|error| error.to_string())?;
    for at in 0..FILES {
        std::fs::write(many.join(format!("{at}.txt")), "x").map_err(|error| error.to_string())?;
    }
    let (serving, took) = serve(&folder, &address)?;
    println!("start to first answer with {FILES} files: {took} ms");
    drop(serving);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
