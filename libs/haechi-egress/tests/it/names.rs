//! Names as the operating system looks them up, by a DNS server, in a network of its own: SSRF-03, SSRF-07.

use crate::{
    certificates::Authority,
    server::{over_tls, private},
};
use haechi_egress::{Client, Destination, Error, Request};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::net::TcpListener;

/// An address that everybody else knows as public; in the network of the test it is this machine's.
const PUBLIC: &str = "93.184.216.34";

/// Runs the test below in a network of its own, where nothing is reached but the machine itself.
#[test]
fn names_are_looked_up_in_a_network_of_its_own() {
    let folder = std::env::temp_dir().join(format!("haechi-egress-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n").unwrap();
    let script = format!(
        "set -e; PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; ip address add {PUBLIC}/32 dev lo; \
         mount --bind \"$FOLDER/resolv.conf\" \"$(readlink -f /etc/resolv.conf)\"; \
         exec \"$PROGRAM\" names::inside --exact --ignored --nocapture"
    );
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let output = Command::new("unshare")
        .args(if root { &["-n", "-m"][..] } else { &["-r", "-n", "-m"] })
        .args(["sh", "-c", &script])
        .env("FOLDER", &folder)
        .env("PROGRAM", std::env::current_exe().unwrap())
        // Proxies of the environment are for others: asking one of these would fail.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "socks5://127.0.0.1:9")
        .env("https_proxy", "http://127.0.0.1:9")
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "the network cannot be made, or the test in it failed: {said}");
}

/// dnsmasq, with its hosts in a file.
struct Dns {
    child: Child,
    hosts: PathBuf,
}

impl Dns {
    fn start(folder: &Path, hosts: &str) -> Self {
        let file = folder.join("hosts");
        std::fs::write(&file, hosts).unwrap();
        let program = ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"].into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.unwrap_or_else(|| panic!("the test needs dnsmasq (Debian: dnsmasq-base)")))
            .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--group=root", "--conf-file=/dev/null", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--cache-size=0", "--local-ttl=0"])
            .arg("--cname=alias.example,inside.example")
            .arg(format!("--addn-hosts={}", file.display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, hosts: file }
    }

    /// Other addresses from now on.
    fn change(&self, hosts: &str) {
        std::fs::write(&self.hosts, hosts).unwrap();
        assert!(Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the system's resolver gives this address.
async fn until(name: &str, address: &str) {
    for _ in 0..200 {
        let found = tokio::net::lookup_host((name, 0)).await;
        if found.is_ok_and(|mut found| found.any(|found| found.ip().to_string() == address)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{name} does not become {address}");
}

#[tokio::test]
#[ignore = "it needs a network of its own; the test above starts it there"]
async fn inside() {
    let folder = PathBuf::from(std::env::var_os("FOLDER").unwrap());
    let hosts = |moving: &str| {
        format!(
            "{PUBLIC} public.example\n127.0.0.1 inside.example\n{PUBLIC} mixed.example\n10.0.0.1 mixed.example\n{PUBLIC} both.example\n\
             ::1 both.example\n{moving} moving.example\n"
        )
    };
    let dns = Dns::start(&folder, &hosts(PUBLIC));
    until("public.example", PUBLIC).await;
    let authority = Authority::new();
    let listener = TcpListener::bind((PUBLIC, 443)).await.unwrap();
    let (public, moving) = (authority.server("public.example", 2100), authority.server("moving.example", 2100));
    let served = std::sync::Arc::new(std::sync::Mutex::new(public));
    let now = served.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = now.lock().unwrap().clone();
            tokio::spawn(over_tls(stream, config));
        }
    });
    // Nothing may come here.
    let inside = TcpListener::bind("127.0.0.1:443").await.unwrap();
    let client = Client::builder().authority(&authority.certificate()).unwrap().build();
    let destination = Destination::public("webhooks");
    let get = |host: &str| Request::get(&format!("https://{host}/"));

    let reply = client.send(&destination, get("public.example")).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.address.to_string()), (200, PUBLIC.to_owned()));
    // Names that stand for this machine: directly, by another name, beside a public address, in the other family.
    for host in ["inside.example", "alias.example", "mixed.example", "both.example", "localhost"] {
        let refused = client.send(&destination, get(host)).await.unwrap_err();
        assert!(matches!(refused, Error::Address(_)), "{host}: {refused:?}");
    }
    let unknown = client.send(&destination, get("unknown.example")).await.unwrap_err();
    assert!(matches!(unknown, Error::Resolve(..)), "{unknown:?}");

    // The name moves to this machine between two requests, and back: the connection that waits is not used meanwhile.
    *served.lock().unwrap() = moving;
    assert!(client.send(&destination, get("moving.example")).await.is_ok());
    dns.change(&hosts("127.0.0.1"));
    until("moving.example", "127.0.0.1").await;
    assert!(matches!(client.send(&destination, get("moving.example")).await, Err(Error::Address(_))));
    dns.change(&hosts(PUBLIC));
    until("moving.example", PUBLIC).await;
    assert!(client.send(&destination, get("moving.example")).await.is_ok());
    assert!(tokio::time::timeout(Duration::from_millis(50), inside.accept()).await.is_err(), "this machine was connected to");
    // What is private and named is reached by its name.
    drop(inside);
    let own = TcpListener::bind("127.0.0.1:8443").await.unwrap();
    let config = authority.server("inside.example", 2100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = own.accept().await {
            tokio::spawn(over_tls(stream, config.clone()));
        }
    });
    let named = private("inside.example", 8443, &["127.0.0.0/8"]);
    assert!(client.send(&named, Request::get("https://inside.example:8443/")).await.is_ok());
}
