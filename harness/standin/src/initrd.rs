//! An initial RAM file system with files added: a second archive behind the first, which the kernel unpacks over it.

use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its absolute path in the machine.
    pub path: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// `base` (any archive a kernel takes, compressed or not) with these files; executable, folders as needed.
///
/// # Errors
/// Those of compression into memory: none in practice.
pub fn with_files(base: &[u8], files: &[File]) -> io::Result<Vec<u8>> {
    let mut out = base.to_vec();
    if files.is_empty() {
        return Ok(out);
    }
    // The kernel looks for the next archive at a multiple of 4.
    out.resize(out.len().next_multiple_of(4), 0);
    let mut gz = GzEncoder::new(out, Compression::fast());
    let mut inode = 0;
    let mut folders = Vec::new();
    for file in files {
        let path = file.path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            if !folders.contains(&&path[..end]) {
                folders.push(&path[..end]);
                inode += 1;
                let folder = Builder::new(&path[..end]).ino(inode).mode(0o755).nlink(2);
                folder.set_mode_file_type(ModeFileType::Directory).write(&mut gz, 0).finish()?;
            }
        }
        inode += 1;
        let entry = Builder::new(path).ino(inode).mode(0o755).nlink(1);
        let mut entry =
            entry.set_mode_file_type(ModeFileType::Regular).write(&mut gz, file.bytes.len() as u32);
        entry.write_all(&file.bytes)?;
        entry.finish()?;
    }
    trailer(&mut gz)?;
    gz.finish()
}

#[cfg(test)]
mod test {
    use std::io::Read;

    use cpio::newc::Reader;

    use super::*;

    #[test]
    fn the_second_archive_holds_the_files() {
        let files = [
            File { path: "/a/b/run.sh".into(), bytes: b"echo hi".to_vec() },
            File { path: "/a/b/data".into(), bytes: vec![7; 1000] },
        ];
        let archive = with_files(&[1, 2, 3], &files).unwrap();
        assert_eq!(archive[..4], [1, 2, 3, 0]);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&archive[4..]).read_to_end(&mut unpacked).unwrap();
        let mut rest = &unpacked[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            seen.push((reader.entry().name().to_owned(), reader.entry().mode(), bytes));
            rest = reader.finish().unwrap();
        }
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), 0o100_755, bytes.to_vec());
        let folder = |name: &str| (name.to_owned(), 0o040_755, Vec::new());
        assert_eq!(
            seen,
            [folder("a"), folder("a/b"), file("a/b/run.sh", b"echo hi"), file("a/b/data", &[7; 1000])]
        );
        assert_eq!(with_files(&[1, 2, 3], &[]).unwrap(), [1, 2, 3]);
    }
}
