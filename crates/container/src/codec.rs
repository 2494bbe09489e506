//! Values to bytes and back: the only module that knows bincode. The layout is that of bincode 2's
//! "standard" configuration, written down in `docs/format.md`; it knows nothing of what is encoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No value is decoded from more bytes than this, and none allocates more.
pub const LIMIT: usize = 64 << 20;

fn config() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<LIMIT>,
> {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// Appends the encoding of `value` to `out`.
///
/// # Errors
/// What is wrong with the value, in words.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    bincode::serde::encode_into_std_write(value, out, config())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Decodes a value that takes up all of `bytes`.
///
/// # Errors
/// What is wrong with the bytes, in words.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bincode::serde::borrow_decode_from_slice(bytes, config()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes too many", bytes.len() - used)),
        Err(error) => Err(error.to_string()),
    }
}

/// Decodes a list of at most `most` rows that takes up all of `bytes`. A row may take far more memory than
/// bytes: so how many there are is looked at first.
///
/// # Errors
/// What is wrong with the bytes, in words.
pub fn decode_list<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<Vec<T>, String> {
    let rows: Result<(u64, usize), _> = bincode::serde::decode_from_slice(bytes, config());
    match rows {
        Ok((rows, _)) if rows > most as u64 => Err(format!("a list of {rows} rows")),
        _ => decode(bytes),
    }
}
