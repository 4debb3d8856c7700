//! VERSION: what both sides can do.

use serde_json::{Map, Value, json};

use super::connection::Limits;
use super::wire::Version;

/// The version spoken here.
const OURS: Version = Version { major: 0, minor: 0 };

/// The page size of DMA ranges.
pub(super) const PAGE: u64 = 4096;

/// `max_data_xfer_size` of a client that does not say.
const DEFAULT_TRANSFER: u64 = 1 << 20;

/// What a client said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The most data it takes in one message, in bytes.
    pub(super) transfer: u64,
}

/// Reads a client's VERSION and appends the payload of the reply.
///
/// The reply names those capabilities that the client named: it then fits where QEMU wants it, in the room of the request.
/// The error says what is wrong.
pub(super) fn negotiate(payload: &[u8], limits: &Limits, reply: &mut Vec<u8>) -> Result<Peer, String> {
    let version = Version::decode(payload).ok_or("the message is too short")?;
    if version.major != OURS.major {
        return Err(format!(
            "the client speaks version {}.{}, this server 0.0",
            version.major, version.minor
        ));
    }
    let text = &payload[Version::SIZE..];
    if text.is_empty() {
        reply.extend_from_slice(&OURS.encode());
        return Ok(Peer { transfer: DEFAULT_TRANSFER });
    }
    let text = text.strip_suffix(&[0]).ok_or("the version data have no NUL at their end")?;
    let data: Map<String, Value> = serde_json::from_slice(text)
        .map_err(|error| format!("the version data are no JSON object: {error}"))?;
    let none = Map::new();
    let theirs = match data.get("capabilities") {
        None => &none,
        Some(Value::Object(capabilities)) => capabilities,
        Some(_) => return Err("\"capabilities\" is not an object".into()),
    };

    let mut ours = Map::new();
    let mut transfer = DEFAULT_TRANSFER;
    for (name, value) in theirs {
        let number =
            || value.as_u64().ok_or_else(|| format!("{name:?} is not a number that counts something"));
        match name.as_str() {
            "max_msg_fds" => {
                number()?;
                ours.insert(name.clone(), json!(limits.fds));
            }
            "max_data_xfer_size" => {
                transfer = number()?;
                ours.insert(name.clone(), json!(limits.transfer));
            }
            "max_dma_maps" => {
                ours.insert(name.clone(), json!((limits.dma_maps as u64).min(number()?)));
            }
            "pgsizes" if number()? & PAGE == 0 => return Err(format!("\"pgsizes\" lacks {PAGE}")),
            "pgsizes" => {
                ours.insert(name.clone(), json!(PAGE));
            }
            "write_multiple" => {
                ours.insert(name.clone(), json!(false));
            }
            _ => {}
        }
    }
    reply.extend_from_slice(&OURS.encode());
    let mut data = Map::new();
    if !ours.is_empty() {
        data.insert("capabilities".into(), ours.into());
    }
    reply.extend_from_slice(Value::Object(data).to_string().as_bytes());
    reply.push(0);
    Ok(Peer { transfer })
}
