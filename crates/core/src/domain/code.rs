//! The forms that codes of terminologies have. Whether there is such a code, and what it means, only the terminology's own table
//! knows: `cargo xtask validators` asks the one that is free (ICD-10-CM).

/// 6 to 18 digits, the last one a Verhoeff check digit (SNOMED CT Release File Specification, 6.2).
pub fn is_snomed_ct(code: &str) -> bool {
    /// Multiplication in the dihedral group D5, in which the check is computed.
    fn product(one: u8, other: u8) -> u8 {
        match (one < 5, other < 5) {
            (true, true) => (one + other) % 5,
            (true, false) => 5 + (one + other) % 5,
            (false, true) => 5 + (one - other) % 5,
            (false, false) => (one + 5 - other) % 5,
        }
    }
    const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    if !(6..=18).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let check = code.bytes().rev().enumerate().fold(0, |check, (place, digit)| {
        let permuted = (0..place % 8).fold(digit - b'0', |value, _| PERMUTATION[usize::from(value)]);
        product(check, permuted)
    });
    check == 0
}

/// A letter, a digit, a letter or digit, and up to four more after a point. Which codes there are, this does not know.
pub fn is_icd_10_cm(code: &str) -> bool {
    let (category, rest) = code
        .split_once('.')
        .map_or((code, None), |(category, rest)| (category, Some(rest)));
    let category_fits = matches!(category.as_bytes(), [first, second, third]
        if first.is_ascii_uppercase() && second.is_ascii_digit() && third.is_ascii_alphanumeric());
    category_fits
        && rest
            .is_none_or(|rest| (1..=4).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Digits (RxNorm concept unique identifier).
pub fn is_rxnorm(code: &str) -> bool {
    (1..=8).contains(&code.len()) && !code.starts_with('0') && code.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snomed_ct_identifiers_have_a_check_digit() {
        // Clinical finding, melanoma, psoriasis; an extension concept of the specification.
        for code in ["404684003", "372244006", "9014002", "101291009"] {
            assert!(is_snomed_ct(code), "{code}");
        }
        for code in ["404684004", "9014020", "12345", "", "40468400E"] {
            assert!(!is_snomed_ct(code), "{code}");
        }
    }

    #[test]
    fn other_codes_have_their_forms() {
        for code in ["C43", "C4A", "Z85.82", "C44.1121"] {
            assert!(is_icd_10_cm(code), "{code}");
        }
        for code in ["43", "c43", "C43.", "C43.12345", "172.9", ""] {
            assert!(!is_icd_10_cm(code), "{code}");
        }
        assert!(is_rxnorm("723") && !is_rxnorm("0723") && !is_rxnorm("") && !is_rxnorm("72x"));
    }
}
