//! The values of options: numbers with units, names.

/// A number of bytes below 4 GiB.
pub(super) fn size(text: &str) -> Result<u32, String> {
    large_size(text).and_then(|size| size.try_into().map_err(|_| "too large".to_owned()))
}

/// A number of bytes, with K, M or G after it for larger units.
pub(super) fn large_size(text: &str) -> Result<u64, String> {
    let units = [(['K', 'k'], 1u64 << 10), (['M', 'm'], 1 << 20), (['G', 'g'], 1 << 30)];
    let with_unit = |(letters, unit)| Some((text.strip_suffix(letters)?, unit));
    let (number, unit) = units.into_iter().find_map(with_unit).unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// A number of bytes in each second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match large_size(text)? {
        0 => Err("nothing would ever arrive".to_owned()),
        rate => Ok(rate),
    }
}

/// A name that a line has room for.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 255 {
        true => Err("a name has 1 to 255 bytes".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A word that marks snapshots.
pub(super) fn tag(text: &str) -> Result<String, String> {
    let is_wrong = |c: char| c == ',' || c.is_whitespace() || c.is_control();
    match text.is_empty() || text.len() > 64 || text.contains(is_wrong) {
        true => Err("a tag is a word of 1 to 64 bytes, without commas".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// How many of something.
pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "a whole number is wanted, 0 or more".to_owned())
}

/// `5` or `5%`
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| "a share is from 1 to 100 percent".into())
}

/// A number over 0.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    ratio.filter(|ratio| *ratio > 0.0).ok_or_else(|| "not a number over 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("4K"), Ok(4096));
        assert_eq!(size("2m"), Ok(2 << 20));
        assert_eq!(large_size("5G"), Ok(5 << 30));
        for bad in ["", "K", "-1", "4KK", "4097M", "4G", "1.5K"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
