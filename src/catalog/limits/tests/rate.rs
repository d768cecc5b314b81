use super::super::rate::{Pace, Rate, TooFast};

const SECOND: u64 = 1_000_000_000;

#[test]
fn exactly_the_burst_passes_at_once_and_then_the_pace() {
    for (per_minute, burst) in [(60, 60), (7, 7), (60, 1), (1, 1), (100_003, 100_003), (6000, 7)] {
        let (rate, pace) = (Rate::default(), Pace::one_by_one(per_minute, burst));
        let now = 17 * SECOND;
        let passed = (0..burst + 5).filter(|_| rate.take(pace, 1, now).is_ok()).count() as u64;
        assert_eq!(passed, burst, "{per_minute} a minute");
        assert_eq!(pace.left(rate.level(now)), 0);
        let Err(TooFast::Wait(wait)) = rate.take(pace, 1, now) else { panic!() };
        assert!(rate.take(pace, 1, now + wait - 1).is_err());
        assert!(rate.take(pace, 1, now + wait).is_ok() && rate.take(pace, 1, now + wait).is_err());
    }
}

#[test]
fn what_does_not_fit_into_the_bucket_never_fits() {
    let (rate, pace) = (Rate::default(), Pace::in_bulk(1000));
    assert_eq!(rate.take(pace, 1001, 0), Err(TooFast::Never));
    assert_eq!(rate.take(pace, 1000, 0), Ok(()));
    assert_eq!(rate.take(pace, 500, 0), Err(TooFast::Wait(30 * SECOND)));
    assert_eq!(rate.fits(pace, 500, 30 * SECOND), Ok(()));
    assert_eq!(pace.left(rate.level(30 * SECOND)), 500);
}

#[test]
fn an_estimate_is_corrected_both_ways() {
    let (rate, pace) = (Rate::default(), Pace::in_bulk(1000));
    rate.take(pace, 900, 0).unwrap();
    rate.correct(pace, 900, 0, 100, 0);
    assert_eq!(pace.left(rate.level(0)), 900);
    rate.correct(pace, 0, 0, 1500, 0);
    assert_eq!(pace.left(rate.level(0)), 0);
    assert_eq!(rate.take(pace, 1, 36 * SECOND), Err(TooFast::Wait(60_000_000)));
}

#[test]
fn what_has_drained_is_not_given_back_again() {
    let (rate, pace) = (Rate::default(), Pace::in_bulk(1000));
    rate.take(pace, 500, 0).unwrap();
    // Half a minute later the bucket is empty; what others take then is theirs.
    rate.take(pace, 500, 30 * SECOND).unwrap();
    rate.correct(pace, 500, 0, 10, 30 * SECOND);
    assert_eq!(pace.left(rate.level(30 * SECOND)), 500);
}

#[test]
fn large_figures_do_not_wrap() {
    let (rate, pace) = (Rate::default(), Pace::in_bulk(1_000_000_000_000));
    assert_eq!(rate.take(pace, u64::MAX, 5), Err(TooFast::Never));
    rate.correct(pace, 1, 5, u64::MAX, 5);
    assert!(rate.take(pace, 1, 5).is_err());
}
