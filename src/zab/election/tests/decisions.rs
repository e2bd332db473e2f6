#![forbid(unsafe_code)]
//! Who wins, when it ends, what is said: [`super::script`]'s text. Names that begin with e10 to e18 are lines of the
//! interoperation checklist (ensemble-protocol §13), s and m scenarios of the reliability file.

use super::script::check;

#[test]
fn an_ensemble_of_one_elects_itself_at_its_first_tick() {
    check(
        "
        me 1 of 1
        begin 0:0
          started round 1
        when
          0
        at 0
          elected 1 round 1 after 0
          end 1@0:0 round 1
        when
          never
        ",
    );
}

#[test]
fn a_round_ends_when_every_linked_voter_has_the_winning_vote() {
    check(
        "
        me 3 of 1 2 3
        up 1
        up 2
        begin 1:7
          started round 1
          to 1 2: looking 3@1:7 round 1
        from 1 looking 1@1:7 round 1
          to 1: looking 3@1:7 round 1
        from 2 looking 2@1:7 round 1
          to 2: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
        when
          200
        from 2 looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        ",
    );
}

#[test]
fn a_round_does_not_wait_for_a_voter_that_is_not_linked_or_no_longer() {
    check(
        "
        me 3 of 1 2 3
        begin 1:7
          started round 1
          to 1 2: looking 3@1:7 round 1
        up 1
          to 1: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        me 3 of 1 2 3 observers 4
        up 4
        up 1
        up 2
        begin 1:7
          started round 1
          to 1 2: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
        lost 2
          elected 3 round 1 after 0
          end 3@1:7 round 1
        ",
    );
}

#[test]
fn e18_a_linked_voter_that_is_silent_is_waited_for_200_ms() {
    check(
        "
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        at 50
        from 1 looking 2@1:7 round 1
        when
          200
        at 100
        from 1 looking 2@1:7 round 1
        when
          200
        at 249
          to 1 3: looking 2@1:7 round 1
        at 250
          elected 2 round 1 after 250
          end 2@1:7 round 1
        ",
    );
}

#[test]
fn e18_resends_back_off_from_200_ms_to_a_minute_and_never_start_anew() {
    check(
        "
        me 1 of 1 2
        begin 1:7
          started round 1
          to 2: looking 1@1:7 round 1
        when
          200
        at 199
        at 200
          to 2: looking 1@1:7 round 1
        when
          600
        at 600
          to 2: looking 1@1:7 round 1
        when
          1400
        at 1400
          to 2: looking 1@1:7 round 1
        when
          3000
        at 3000
          to 2: looking 1@1:7 round 1
        when
          6200
        at 6200
          to 2: looking 1@1:7 round 1
        when
          12600
        at 12600
          to 2: looking 1@1:7 round 1
        when
          25400
        at 25400
          to 2: looking 1@1:7 round 1
        when
          51000
        at 51000
          to 2: looking 1@1:7 round 1
        when
          102200
        at 102200
          to 2: looking 1@1:7 round 1
        when
          162200
        at 162200
          to 2: looking 1@1:7 round 1
        when
          222200
        from 2 looking 2@1:6 round 1
          to 2: looking 1@1:7 round 1
        when
          222200
        from 2 looking 2@1:7 round 7
          to 2: looking 2@1:7 round 7
          elected 2 round 7 after 162200
          end 2@1:7 round 7
        when
          never
        ",
    );
}

#[test]
fn a_better_vote_opens_a_won_round_again_and_others_are_counted_meanwhile() {
    check(
        "
        me 2 of 1 2 3 4 5
        up 1
        up 3
        up 4
        up 5
        begin 1:7
          started round 1
          to 1 3 4 5: looking 2@1:7 round 1
        from 1 looking 2@1:7 round 1
        from 3 looking 2@1:7 round 1
        when
          200
        at 100
        from 5 looking 5@1:7 round 1
          to 1 3 4 5: looking 5@1:7 round 1
        when
          300
        from 1 looking 5@1:7 round 1
        when
          300
        from 3 looking 5@1:7 round 1
        from 4 looking 5@1:7 round 1
          elected 5 round 1 after 100
          end 5@1:7 round 1
        ",
    );
}

#[test]
fn s22_a_voter_that_changes_its_mind_reopens_the_decision_3109() {
    check(
        "
        me 3 of 1 2 3
        up 1
        up 2
        begin 1:7
          started round 1
          to 1 2: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
        at 199
        from 1 looking 1@1:6 round 1
          to 1: looking 3@1:7 round 1
        when
          200
        at 200
          to 1 2: looking 3@1:7 round 1
        from 1 looking 1@1:6 round 2
          to 1 2: looking 3@1:7 round 2
        from 1 looking 3@1:7 round 2
        from 2 looking 3@1:7 round 2
          elected 3 round 2 after 200
          end 3@1:7 round 2
        ",
    );
}

#[test]
fn e10_the_highest_epoch_then_zxid_then_id_wins() {
    check(
        "
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 1 looking 1@2:0 round 1
          to 1 3: looking 1@2:0 round 1
        from 3 looking 1@2:0 round 1
          elected 1 round 1 after 0
          end 1@2:0 round 1
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 1 looking 1@1:8 round 1
          to 1 3: looking 1@1:8 round 1
        from 3 looking 1@1:8 round 1
          elected 1 round 1 after 0
          end 1@1:8 round 1
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 3 looking 3@1:7 round 1
          to 1 3: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        me 2 of 1 2 3
        up 1
        up 3
        begin 2:0
          started round 1
          to 1 3: looking 2@2:0 round 1
        from 1 looking 1@1:9 round 1
          to 1: looking 2@2:0 round 1
        from 3 looking 3@1:9 round 1
          to 3: looking 2@2:0 round 1
        from 3 looking 2@2:0 round 1
        from 1 looking 2@2:0 round 1
          elected 2 round 1 after 0
          end 2@2:0 round 1
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:8
          started round 1
          to 1 3: looking 2@1:8 round 1
        from 3 looking 3@1:7 round 1
          to 3: looking 2@1:8 round 1
        from 3 looking 2@1:8 round 1
        from 1 looking 2@1:8 round 1
          elected 2 round 1 after 0
          end 2@1:8 round 1
        ",
    );
}

#[test]
fn e11_a_server_of_weight_0_never_wins() {
    check(
        "
        me 1 of 1 2 3 weights 3=0
        begin 1:7
          started round 1
          to 2 3: looking 1@1:7 round 1
        from 3 looking 3@9:9 round 1
        from 3 looking 3@9:9 round 2
          to 2 3: looking 1@1:7 round 2
        from 2 looking 2@1:7 round 2
          to 2 3: looking 2@1:7 round 2
          elected 2 round 2 after 0
          end 2@1:7 round 2
        me 3 of 1 2 3 weights 3=0
        begin 9:9
          started round 1
          to 1 2: looking 3@9:9 round 1
        from 2 looking 2@9:10 round 1
          to 1 2: looking 2@9:10 round 1
        from 1 looking 2@9:10 round 1
          elected 2 round 1 after 0
          end 2@9:10 round 1
        ",
    );
}

#[test]
fn e12_a_server_ahead_takes_us_along_and_one_behind_is_told() {
    check(
        "
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 1 looking 1@1:7 round 1
          to 1: looking 2@1:7 round 1
        from 3 looking 3@1:7 round 5
          to 1 3: looking 3@1:7 round 5
        from 1 looking 2@1:7 round 1
          to 1: looking 3@1:7 round 5
        from 1 looking 3@1:7 round 5
          elected 3 round 5 after 0
          end 3@1:7 round 5
        me 2 of 1 2 3
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 3 looking 3@1:7 round 1
          to 1 3: looking 3@1:7 round 1
        from 1 looking 1@1:6 round 4
          to 1 3: looking 2@1:7 round 4
        from 1 looking 2@1:7 round 4
        from 3 looking 3@1:7 round 1
          to 3: looking 2@1:7 round 4
        from 3 looking 3@1:7 round 4
          to 1 3: looking 3@1:7 round 4
        from 1 looking 3@1:7 round 4
          elected 3 round 4 after 0
          end 3@1:7 round 4
        ",
    );
}

#[test]
fn e13_a_looking_voter_is_told_what_we_have_in_every_role() {
    check(
        "
        me 2 of 1 2 3
        up 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 3 looking 3@1:7 round 1
          to 1 3: looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        from 1 looking 1@1:7 round 1
          to 1: following 3@1:7 round 1
        settle following 3@5:7 round 1
        from 1 looking 1@1:7 round 9
          to 1: following 3@5:7 round 1
        settle leading 2@5:7 round 1
        from 1 looking 1@1:7 round 1
          to 1: leading 2@5:7 round 1
        settle observing 3@5:7 round 1
        from 1 looking 1@1:7 round 1
          to 1: observing 3@5:7 round 1
        from 1 looking none round 1
          to 1: observing 3@5:7 round 1
        from 1 following 3@5:7 round 1
        from 1 leading 3@5:7 round 1
        from 1 observing 3@5:7 round 1
        ",
    );
}

#[test]
fn e14_a_server_without_a_vote_is_answered_in_every_state_and_never_counted() {
    check(
        "
        me 3 of 1 2 3 observers 4
        begin 1:7
          started round 1
          to 1 2: looking 3@1:7 round 1
        from 4 looking none round 40
          to 4: looking 3@1:7 round 1
        from 4 looking 2@9:9 round 40
          ignored 4: it was told the same just now
        from 4 leading 2@9:9 round 1
          ignored 4: it was told the same just now
        from 9 looking 2@9:9 round 1
          to 9: looking 3@1:7 round 1
          ignored 9: the sender is not in the ensemble
        at 99
        from 4 looking none round 40
          ignored 4: it was told the same just now
        at 100
        from 4 looking none round 40
          to 4: looking 3@1:7 round 1
        from 1 looking 3@1:7 round 1
          elected 3 round 1 after 100
          end 3@1:7 round 1
        from 4 looking none round 40
          to 4: leading 3@1:7 round 1
        settle following 2@5:7 round 8
        from 4 looking none round 40
          to 4: following 2@5:7 round 1
        from 9 looking 9@1:1 round 1
          to 9: following 2@5:7 round 1
        settle leading 3@5:7 round 1
        from 4 looking none round 40
          to 4: leading 3@5:7 round 1
        settle observing 2@5:7 round 8
        from 4 looking none round 40
          to 4: observing 2@5:7 round 1
        ",
    );
}

#[test]
fn e15_a_server_that_comes_back_joins_the_leader_a_quorum_has() {
    check(
        "
        me 1 of 1 2 3
        up 2
        up 3
        begin 5:7
          started round 1
          to 2 3: looking 1@5:7 round 1
        from 2 following 3@6:7 round 4
        from 3 leading 3@6:99 round 3
          elected 3 round 3 after 0
          end 3@6:99 round 3
        me 1 of 1 2 3
        begin 5:7
          started round 1
          to 2 3: looking 1@5:7 round 1
        from 3 leading 3@6:7 round 1
        from 2 following 3@5:7 round 1
          elected 3 round 1 after 0
          end 3@5:7 round 1
        ",
    );
}

#[test]
fn what_was_said_in_an_older_round_does_not_count_in_a_newer_one() {
    check(
        "
        me 1 of 1 2 3 4 5
        begin 5:7
          started round 1
          to 2 3 4 5: looking 1@5:7 round 1
        from 2 following 5@6:7 round 1
        from 3 following 5@6:7 round 1
        from 4 looking 4@5:7 round 5
          to 2 3 4 5: looking 4@5:7 round 5
        from 5 leading 5@7:7 round 5
        from 3 following 5@7:7 round 5
        from 2 following 5@6:7 round 5
          elected 5 round 5 after 0
          end 5@6:7 round 5
        ",
    );
}

#[test]
fn e15_versions_0_are_compared_by_leader_alone() {
    check(
        "
        me 1 of 1 2 3
        begin 5:7
          started round 1
          to 2 3: looking 1@5:7 round 1
        from 2 following 3@1:7 round 4 version 0
        from 3 leading 3@6:7 round 4
          elected 3 round 4 after 0
          end 3@6:7 round 4
        me 1 of 1 2 3
        begin 5:7
          started round 1
          to 2 3: looking 1@5:7 round 1
        from 2 following 3@1:7 round 4 version 0
        from 3 leading 3@6:7 round 4 version 0
        ",
    );
}

#[test]
fn e16_followers_alone_do_not_make_a_leader() {
    check(
        "
        me 1 of 1 2 3 4 5
        begin 5:7
          started round 1
          to 2 3 4 5: looking 1@5:7 round 1
        from 2 following 5@6:7 round 4
        from 3 following 5@6:7 round 4
        from 4 following 5@6:7 round 4
        from 5 looking 5@6:7 round 1
          to 2 3 4 5: looking 5@6:7 round 1
        from 5 following 4@6:7 round 4
        from 5 leading 5@6:7 round 4
          elected 5 round 4 after 0
          end 5@6:7 round 4
        me 1 of 1 2 3
        begin 5:7
          started round 1
          to 2 3: looking 1@5:7 round 1
        from 2 following 3@5:7 round 1
        from 2 following 2@5:7 round 1
        from 2 leading 3@5:7 round 1
        ",
    );
}

#[test]
fn e16_others_that_follow_us_make_us_lead_only_in_our_round() {
    check(
        "
        me 3 of 1 2 3
        begin 5:7
          started round 1
          to 1 2: looking 3@5:7 round 1
        from 1 following 3@5:7 round 4
        from 2 following 3@5:7 round 4
        me 3 of 1 2 3
        begin 5:7
          started round 1
          to 1 2: looking 3@5:7 round 1
        from 1 following 3@5:7 round 1
          elected 3 round 1 after 0
          end 3@5:7 round 1
        ",
    );
}

#[test]
fn e17_a_history_that_may_be_lost_neither_wins_nor_votes() {
    check(
        "
        me 1 of 1 2 3
        begin 1:7
          started round 1
          to 2 3: looking 1@1:7 round 1
        from 3 looking 3@0:-1 round 1
          ignored 3: the candidate's history may be lost
        from 3 looking 3@0:-1 round 5
          ignored 3: the candidate's history may be lost
        from 2 looking 2@1:7 round 1
          to 2 3: looking 2@1:7 round 1
          elected 2 round 1 after 0
          end 2@1:7 round 1
        me 3 of 1 2 3
        begin 0:-1
          started round 1
          to 1 2: looking 3@0:-1 round 1
        from 1 looking 1@1:7 round 1
          ignored 1: our own history may be lost
        from 2 looking 1@1:7 round 5
          ignored 2: our own history may be lost
        from 1 looking 1@1:7 round 0
          ignored 1: our own history may be lost
        when
          200
        from 1 following 2@2:7 round 1
        from 2 leading 2@2:7 round 1
          elected 2 round 1 after 0
          end 2@2:7 round 1
        me 1 of 1
        begin 0:-1
          started round 1
        when
          200
        ",
    );
}

#[test]
fn r11_a_server_that_is_not_admitted_votes_for_nobody_and_is_not_elected() {
    check(
        "
        me 3 of 1 2 3
        up 1
        up 2
        begin none
          started round 1
          to 1 2: looking none round 1
        from 1 looking 3@1:7 round 1
          ignored 1: its vote is for us, who cannot lead
        from 2 looking 3@1:7 round 1
          ignored 2: its vote is for us, who cannot lead
        from 1 following 3@1:7 round 1
          ignored 1: its vote is for us, who cannot lead
        from 2 following 3@1:7 round 1
          ignored 2: its vote is for us, who cannot lead
        from 1 looking 2@1:7 round 2
          to 1 2: looking none round 2
        from 1 looking 1@1:7 round 1
        at 200
          to 1 2: looking none round 2
        from 2 looking 2@1:7 round 2
          elected 2 round 2 after 200
          end 2@1:7 round 2
        ",
    );
}

#[test]
fn an_observer_says_it_has_no_vote_and_goes_where_the_voters_go() {
    check(
        "
        me 4 of 1 2 3 observers 4
        begin none
          started round 1
          to 1 2 3: looking none round 1
        up 1
          to 1: looking none round 1
        up 2
          to 2: looking none round 1
        from 1 looking 3@1:7 round 6
          to 1 2 3: looking none round 6
        from 2 looking 2@1:7 round 3
        from 2 following 3@2:7 round 6
        from 3 leading 3@2:7 round 6
          elected 3 round 6 after 0
          end 3@2:7 round 6
        me 4 of 1 2 3 observers 4
        up 1
        up 2
        begin none
          started round 1
          to 1 2 3: looking none round 1
        from 1 looking 3@1:7 round 1
        from 2 looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        ",
    );
}

#[test]
fn m56_numbers_no_server_has_and_strangers_are_ignored() {
    check(
        "
        me 1 of 1 2 3 observers 4
        begin 1:7
          started round 1
          to 2 3: looking 1@1:7 round 1
        from 2 looking 2@1:max round 1
          ignored 2: no server has this zxid
        from 2 looking 2@max:7 round 1
          ignored 2: no server has this epoch
        from 2 looking 2@1:7 round max
          ignored 2: no server has this round
        from 2 looking 2@-5:7 round 1
          ignored 2: no server has this epoch
        from 2 looking 9@1:7 round 1
          ignored 2: its vote is not for a voter
        from 2 looking 4@1:7 round 1
          ignored 2: its vote is not for a voter
        from 2 following 9@1:7 round 1
          ignored 2: its vote is not for a voter
        from 2 leading 2@max:7 round 1
          ignored 2: no server has this epoch
        from 2 observing 3@1:7 round 1
          ignored 2: the sender observes
        from 1 looking 3@1:7 round 1
          ignored 1: it comes under our own id
        from 4 looking 3@max:max round 1
          to 4: looking 1@1:7 round 1
        ",
    );
}

#[test]
fn what_was_said_last_is_said_again_on_a_new_link() {
    check(
        "
        me 1 of 1 2 3 observers 4
        up 2
        begin 1:7
          started round 1
          to 2 3: looking 1@1:7 round 1
        from 2 looking 3@1:7 round 3
          to 2 3: looking 3@1:7 round 3
          elected 3 round 3 after 0
          end 3@1:7 round 3
        up 3
        up 2
        up 4
        settle following 3@1:7 round 3
        ",
    );
}

#[test]
fn f18_a_candidate_that_led_to_nothing_is_passed_over_if_that_decides() {
    check(
        "
        me 2 of 1 2 3 4
        up 1
        up 3
        begin 1:7
          started round 1
          to 1 3 4: looking 2@1:7 round 1
        from 1 looking 4@1:7 round 1
          to 1 3 4: looking 4@1:7 round 1
        from 3 looking 4@1:7 round 1
          elected 4 round 1 after 0
          end 4@1:7 round 1
        begin 1:7
          started round 2
          to 1 3 4: looking 2@1:7 round 2
        from 1 looking 4@1:7 round 2
        from 3 looking 3@1:7 round 2
          to 1 3 4: looking 3@1:7 round 2
        from 1 looking 3@1:7 round 2
          elected 3 round 2 after 0
          end 3@1:7 round 2
        begin 2:0
          started round 3
          to 1 3 4: looking 2@2:0 round 3
        from 1 looking 4@2:1 round 3
          to 1 3 4: looking 4@2:1 round 3
        ",
    );
}

#[test]
fn f18_a_candidate_that_is_doubted_has_its_chance_when_no_other_wins() {
    check(
        "
        me 2 of 1 2 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        from 3 looking 3@1:7 round 1
          to 1 3: looking 3@1:7 round 1
          elected 3 round 1 after 0
          end 3@1:7 round 1
        begin 1:7
          started round 2
          to 1 3: looking 2@1:7 round 2
        from 3 looking 3@1:7 round 2
        when
          200
        at 200
          to 1 3: looking 2@1:7 round 2
        when
          400
        at 400
          to 1 3: looking 3@1:7 round 2
          elected 3 round 2 after 400
          end 3@1:7 round 2
        begin 1:7
          started round 3
          to 1 3: looking 2@1:7 round 3
        from 3 looking 3@1:7 round 5
          to 1 3: looking 2@1:7 round 5
        at 500
        at 800
          to 1 3: looking 3@1:7 round 5
          elected 3 round 5 after 400
          end 3@1:7 round 5
        ",
    );
}

#[test]
fn an_election_without_result_goes_into_a_new_round() {
    check(
        "
        me 2 of 1 2 3
        begin 1:7
          started round 1
          to 1 3: looking 2@1:7 round 1
        begin 1:7
          started round 2
          to 1 3: looking 2@1:7 round 2
        when
          200
        ",
    );
}
