//! Sockets in a folder.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::Endpoint;

/// A folder that goes when it is dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("standin-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(super) fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::bind(self.0.join(name)).expect("a new socket")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the folder is there");
    }
}

#[test]
fn a_socket_replaces_a_dead_one_and_goes_with_its_owner() {
    let folder = Folder::new();
    let path = folder.0.join("a.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "the dead one is left behind");
    let endpoint = folder.endpoint("a.sock");
    let second = Endpoint::bind(&path).expect_err("the first is alive").to_string();
    assert!(
        second.contains("another process serves") && second.contains("choose another folder"),
        "{second}"
    );
    drop(endpoint);
    assert!(!path.exists(), "it goes with its owner");

    let endpoint = folder.endpoint("a.sock");
    std::fs::remove_file(&path).expect("it is there");
    let other = UnixListener::bind(&path).expect("another socket");
    drop(endpoint);
    assert!(path.exists(), "what another owner has put there stays");
    drop(other);
}

#[test]
fn what_is_in_the_way_is_named_with_a_remedy() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("file"), "data").expect("a file");
    for (name, part) in [
        ("file".to_string(), "is not a socket: remove it"),
        ("none/a.sock".to_string(), "does not exist: create it first"),
        ("file/a.sock".to_string(), "does not exist: create it first"),
        ("x".repeat(120), "at most 107 bytes"),
    ] {
        let error = Endpoint::bind(folder.0.join(&name)).expect_err("something is in the way").to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
    assert_eq!(std::fs::read(folder.0.join("file")).expect("it is there"), b"data");
    let longest = 107 - folder.0.as_os_str().len() - 1;
    folder.endpoint(&"y".repeat(longest));
    Endpoint::bind(folder.0.join("y".repeat(longest + 1))).expect_err("one too long");
}
