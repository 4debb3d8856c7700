//! Near misses: the known word closest to a mistyped one.

/// The candidate nearest to `word`, if it is near enough to be a typing mistake.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&fold(word), &fold(c)), c))
        .filter(|(d, c)| *d <= limit || (*d < usize::MAX && begins_alike(word, c)))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// One is the beginning of the other, or they share their first six letters.
fn begins_alike(a: &str, b: &str) -> bool {
    let common = fold(a).iter().zip(&fold(b)).take_while(|(a, b)| a == b).count();
    common >= 6 || (common >= 4 && common == a.chars().count().min(b.chars().count()))
}

/// `with an a` or `with a b`: the article of a word.
pub(crate) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `a`, `b`, `c`; shortened after `max` items.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>, max: usize) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    let mut shown: Vec<String> = words.iter().take(max).map(|w| format!("`{w}`")).collect();
    if words.len() > max {
        shown.push(format!("... ({} in all)", words.len()));
    }
    shown.join(", ")
}

/// Upper and lower case, dashes and underscores are all the same to a hasty reader.
fn fold(word: &str) -> Vec<char> {
    word.to_lowercase().chars().map(|c| if c == '_' { '-' } else { c }).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    if a.len().abs_diff(b.len()) > 8 || a.len() > 64 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let words = ["psmmu", "endpoint", "vsmmu", "seed", "viommu-alloc"];
        for (word, best) in [
            ("psmu", Some("psmmu")),
            ("endpiont", Some("endpoint")),
            ("Seed", Some("seed")),
            ("viommu_alloc", Some("viommu-alloc")),
            ("banana", None),
            ("endpoints-of-all", Some("endpoint")),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), best, "{word}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(["a", "b", "c"], 2), "`a`, `b`, ... (3 in all)");
    }
}
