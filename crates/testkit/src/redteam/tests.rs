use skin_assist_core::synthesis::{Rule, Rules};

use super::*;

#[test]
fn no_attack_succeeds_and_nothing_leaks_into_a_prompt() {
    let team = RedTeam::new();
    let attacks = attacks();
    assert!(attacks.len() >= 500, "only {} attacks", attacks.len());
    for attack in &attacks {
        let outcome = team.play(attack, &Rules::all());
        assert!(
            outcome.broken.is_empty() && !outcome.leaked,
            "{}: {:?} (leaked: {})\n{}",
            attack.family,
            outcome.broken,
            outcome.leaked,
            attack.answer
        );
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "this is the red team")]
fn without_any_one_rule_an_attack_succeeds() {
    let team = RedTeam::new();
    let attacks = attacks();
    for rule in Rule::ALL {
        let rules = Rules::without(rule);
        let succeeds = |attack: &Attack| !team.play(attack, &rules).broken.is_empty();
        assert!(attacks.iter().any(succeeds), "without `{rule}` nothing gets through");
    }
}

#[test]
fn a_good_answer_is_taken_and_the_judge_finds_nothing_wrong_with_it() {
    let team = RedTeam::new();
    for scenario in scenarios() {
        let attack = Attack {
            family: "none",
            answer: scenario.good_answer().to_string(),
            scenario: scenario.clone(),
            chart_text: String::new(),
            harm: vec![],
        };
        let outcome = team.play(&attack, &Rules::all());
        assert_eq!((outcome.fallback, outcome.leaked), (None, false), "{}", scenario.name);
        assert_eq!(outcome.broken, Vec::<String>::new());
        let composed = team.composed(&scenario);
        assert_eq!(broken(&composed, &scenario, &composed), Vec::<String>::new());
    }
}

#[test]
fn prompt_and_paste_would_not_hold() {
    let attacks = attacks();
    let pasted = attacks.iter().filter(|attack| pasted_is_broken(attack)).count();
    assert!(pasted > attacks.len() / 2, "only {pasted} of {}", attacks.len());
}
