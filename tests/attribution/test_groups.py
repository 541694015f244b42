"""Groups of processed images: one promise for all of them, and honest answers about what is in none."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from invert.attribution.calibration import make_calibration
from invert.attribution.calibration_file import decode_calibration, encode_calibration
from invert.attribution.explained import Explained, group_of, group_text
from invert.attribution.groups import CEILING, Groups, Scored
from invert.attribution.promise import rate_sentence
from invert.attribution.settings import PROCESSINGS, SHARES_OF_SEVERAL, CalibrationSettings
from invert.attribution.sizes import own_to_rule_out, required_images
from invert.attribution.splits import divide
from invert.attribution.verdict import Outcome, judge
from invert.errors import UsageError
from invert.statistics.thresholds import neyman_pearson_rank
from tests.attribution import groups_case as case
from tests.attribution.calibration_case import calibration as plain_calibration
from tests.attribution.calibration_case import measurement
from tests.attribution.test_calibration import changed_file


def test_a_group_is_what_was_found_without_its_numbers() -> None:
    assert [group_of(text, False) for text in ("none", "jpeg:75", "jpeg", "crop:0.02+resize-box:0.5+jpeg:7")] == [
        "none",
        "jpeg",
        "jpeg",
        "crop+resize+jpeg",
    ]
    assert group_of("resize:0.5", True) == "resize/small"
    assert group_of("crop:0+jpeg:75", False) == "jpeg"  # nothing was cut off
    assert group_of("crop:0", False) == "none"
    assert group_text("resize/small") == "resize, left small"
    shown = [Explained(text, "random", 1, 1, 1, "converged").text for text in ("crop:0", "crop:0+jpeg:75", "crop:0.02")]
    assert shown == ["none, random noise", "jpeg:75, random noise", "crop:0.02, random noise"]


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_many_processings_take_no_more_images_each_than_one(rate: float, needed: int) -> None:
    """Since one threshold serves all populations; only the shares of a population differ."""
    one = CalibrationSettings(rate=rate)
    many = CalibrationSettings(rate=rate, **SHARES_OF_SEVERAL)
    for settings in (one, many):
        count = required_images(settings)
        assert math.ceil(count * settings.threshold_share) >= needed
        assert math.ceil((count - 1) * settings.threshold_share) < needed
    assert required_images(many) < required_images(one)
    assert (own_to_rule_out(one), own_to_rule_out(many)) == (37, 31)


def simulated(seed: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return for own and other populations the shares of four groups, and the mean score of each group."""
    random = np.random.RandomState(seed)
    shares = [random.dirichlet([0.4] * 4) for _ in range(12)]
    own = [random.normal(0, 1, 4) for _ in range(4)]
    # As a rule one of the others is nearer than the rest: the case in which the promise is the hardest to keep.
    others = [random.normal(6, 1.5, 4) - (3.0 if number == 0 else 0.0) for number in range(8)]
    return shares[:4], own, shares[4:], others


def draw(random: np.random.RandomState, shares: np.ndarray, means: np.ndarray, size: tuple[int, ...]) -> Scored:
    groups = random.choice(4, size, p=shares)
    return Scored(groups.astype(np.str_), means[groups] + random.standard_normal(size))


def exceeded(rank: int, seed: int, count: int, calibrations: int, rate: float) -> int:
    """Return in how many calibrations some population exceeds the rate at the strictest threshold of this rank."""
    own_shares, own_means, shares, means = simulated(seed)
    random = np.random.RandomState(seed)
    own = [draw(random, *one, (40,)) for one in zip(own_shares, own_means, strict=True)]
    others = [draw(random, *one, (40,)) for one in zip(shares, means, strict=True)]
    groups = Groups.fit(own, others, rate)
    judged = [name for name, group in groups.found.items() if group.is_judged]
    limits = []
    for one in zip(shares, means, strict=True):
        scored = draw(random, *one, (calibrations, count))
        compared = np.where(np.isin(scored.groups, judged), scored.scores, CEILING)
        limits.append(np.partition(compared, rank - 1, axis=1)[:, rank - 1])
    limit = np.min(limits, axis=0)  # [calibrations]
    true = np.zeros((len(shares), calibrations))
    for number, (share, mean) in enumerate(zip(shares, means, strict=True)):
        for name in judged:
            true[number] += share[int(name)] * norm.cdf(limit - mean[int(name)])
    return int((true.max(axis=0) > rate).sum())


@pytest.mark.slow
def test_the_promise_holds_for_all_populations_together() -> None:
    """By simulation: in at most 5 % of calibrations any population's true rate exceeds the one that was promised."""
    rate, count, each, seeds = 0.05, 100, 100, range(20)
    kept = neyman_pearson_rank(count, rate, 0.95)
    assert kept == 2
    shares = [
        sum(exceeded(rank, seed, count, each, rate) for seed in seeds) / (each * len(seeds))
        for rank in (kept, int(rate * count))
    ]
    assert shares[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (each * len(seeds)))
    assert shares[1] > 0.15  # the plain quantile of the strictest population breaks it


def test_a_group_that_is_told_badly_does_not_spoil_the_others() -> None:
    random = np.random.RandomState(0)

    def scored(none: float, blur: float, count: int = 200) -> Scored:
        means = np.repeat([none, blur], count)
        return Scored(np.repeat(["none", "blur"], count), means + random.standard_normal(2 * count))

    own, others = scored(-5, 0), [scored(5, 3) for _ in range(9)]
    assert Groups.fit([own], others, 0.01).refusal("blur") == ""
    # One population of ten measures like the network's own after a blur: one threshold for both groups would hardly
    # find own images in either.
    twin = Scored(np.repeat(["blur"], 10), random.normal(-4, 1, 10))
    groups = Groups.fit([own], [*others, twin], 0.01)
    assert groups.refusal("none") == ""
    assert "its own images and others measure too much alike" in groups.refusal("blur")
    assert groups.compared("blur", -100.0) == CEILING
    assert "processed like this (found: crop+jpeg)" in groups.refusal("crop+jpeg")


def test_own_images_that_will_not_be_judged_are_told_beforehand() -> None:
    assert case.calibration().unjudged() == ""
    assert plain_calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2)).unjudged() == ""
    made = case.calibration()
    rare = dataclasses.replace(made.owns[0].measurements[0], group="crop+jpeg")
    own = dataclasses.replace(made.owns[0], measurements=(rare, *made.owns[0].measurements[1:]))
    told = dataclasses.replace(made, owns=(own, *made.owns[1:])).unjudged()
    assert told.startswith("1 of 660 own images are in groups that are not judged")
    assert told.endswith(": crop+jpeg (1)")


def test_a_group_takes_a_few_own_images() -> None:
    def scored(name: str, count: int, mean: float) -> Scored:
        return Scored(np.repeat([name], count), np.linspace(mean, mean + 1, count))

    assert Groups.fit([scored("none", 3, 0)], [scored("none", 3, 4)], 0.2).refusal("none") == ""
    assert Groups.fit([scored("none", 2, 0)], [scored("none", 50, 4)], 0.2).refusal("none")
    # That others are never found there speaks for own images.
    groups = Groups.fit([scored("none", 9, 0), scored("blur", 9, 2)], [scored("none", 9, 6)], 0.2)
    assert groups.refusal("blur") == ""
    assert [groups.compared("blur", value) for value in (2.5, 99.0)] == [2.5, CEILING]
    assert math.isnan(groups.compared("shift", math.nan))


def test_an_image_is_of_one_part_whatever_happened_to_it() -> None:
    made = case.calibration()
    parts = [
        {one.source: split for split in ("fit", "threshold", "held-out") for one in real.part(split)}
        for real in made.others
        if real.name == "real"
    ]
    assert len(parts) == 3
    assert parts[0] == parts[1] == parts[2]
    assert len(parts[0]) == 60
    assert made.owns[0].splits == made.owns[2].splits != made.others[0].splits


def test_the_score_knows_what_was_found() -> None:
    made = case.calibration()
    assert set(made.groups("evidence").found) == {"none", "jpeg", "resize/small"}
    varying = {"complexity", "q", "misfit", "latent_norm", "rms_ratio", "q_by_loss", "norm_by_loss"}
    assert set(made.evidence.features) == varying | {"was_compressed", "was_scaled"}
    own, other, jpeg_other = case.found_image(0.1), case.found_image(2.0), case.found_image(1.0, "jpeg:80")
    verdicts = [judge(made, one, "A") for one in (own, other, jpeg_other)]
    assert [one.outcome for one in verdicts] == [Outcome.ATTRIBUTED, Outcome.NONE, Outcome.NONE]
    readings = [one.evidence for one in verdicts]
    assert [one and one.group for one in readings] == ["none", "none", "jpeg"]
    limits = [one.threshold for one in readings if one is not None and one.threshold is not None]
    assert limits[0] == limits[1] == limits[2]
    assert verdicts[0].fires
    assert [one is not None and one.score < limits[0] for one in readings[:2]] == [True, False]
    # The rate is kept on the very images that set it, in every population.
    assert all(count / total <= case.RATE for count, total in case.rates(made).values())


def test_what_is_like_nothing_in_the_calibration_is_not_judged() -> None:
    made = case.calibration()
    for processing, small, text in (("crop:0.05+jpeg:75", False, "crop+jpeg"), ("jpeg:75", True, "jpeg, left small")):
        finding = judge(made, case.found_image(0.0, processing, small=small), "A")
        assert finding.outcome is Outcome.CANNOT_TELL
        assert finding.reason == f"nothing in the calibration was processed like this (found: {text})"
        assert finding.evidence is not None
        assert finding.evidence.p0 is None
        assert not finding.fires


def test_what_tells_nothing_is_not_judged() -> None:
    made = case.calibration()
    black = judge(made, case.found_image(0.0, stopped="saturated"), "A")
    assert (black.outcome, black.reason) == (
        Outcome.CANNOT_TELL,
        "it is all black and white, of which nothing can be told",
    )
    lost = judge(made, case.found_image(0.0, stopped="not-finite"), "A")
    assert lost.outcome is Outcome.CANNOT_TELL
    assert "not finite" in lost.reason


def test_small_images_are_judged_where_the_calibration_has_them() -> None:
    small = case.found_image(0.0, "resize:0.5", small=True)
    assert judge(case.calibration(), small, "A").outcome is Outcome.ATTRIBUTED
    # By any other method they are refused.
    refused = judge(plain_calibration(), measurement(-4.0, upsampled=True), "A")
    assert refused.reason == "it is smaller than the network's 32 px"


def test_own_images_that_are_not_recognised_after_some_processing_are_told_in_their_group_alone() -> None:
    """p1 counts the own images that were found to be processed alike, among all of those after each processing."""
    made = case.calibration()
    far = case.found_image(2.6, "jpeg:75").evidence
    lost = [
        dataclasses.replace(one, evidence={**far, "complexity": one.complexity}) if number % 5 == 0 else one
        for number, one in enumerate(made.owns[1].measurements)
    ]
    owns = [made.owns[0], dataclasses.replace(made.owns[1], measurements=tuple(lost)), made.owns[2]]
    records = {"method": case.EXACT, "run": {}, "network": made.network}
    again = make_calibration(case.SETTINGS, owns, made.others, tool="0.2.0", **records)
    findings = [judge(again, case.found_image(2.4, processing), "A") for processing in ("none", "jpeg:75")]
    p1 = [one.evidence.p1 for one in findings if one.evidence is not None and one.evidence.p1 is not None]
    assert p1[0] <= 0.01 < 0.1 < p1[1]
    assert findings[0].outcome is Outcome.NONE
    assert findings[1].outcome is Outcome.CANNOT_TELL


def test_what_lies_between_its_own_images_and_others_found_alike_is_not_told() -> None:
    """An own image after what is not modelled is explained worse than its like, and better than any other image."""
    near, far = (judge(case.calibration(), case.found_image(q), "A") for q in (1.2, 2.0))
    assert (near.outcome, near.fires) == (Outcome.CANNOT_TELL, False)
    assert near.reason == "it is nearer than most others: it may be its own, after what is not modelled"
    assert near.reading is not None
    assert near.reading.p0_alike == pytest.approx(1 / 61)  # of 30 images of each of two origins after each processing
    assert near.reading.p0 is not None
    assert near.reading.p0 > 0.5  # after another processing others lie lower
    assert far.outcome is Outcome.NONE
    # Where no other image was found in its group, none is as low.
    elsewhere = [
        dataclasses.replace(
            one, measurements=tuple(dataclasses.replace(image, group="jpeg") for image in one.measurements)
        )
        for one in case.calibration().others
    ]
    alone = dataclasses.replace(case.calibration(), others=tuple(elsewhere))
    assert [len(alone.others_like("evidence", group)) for group in ("none", "jpeg")] == [0, 180]
    reading = judge(alone, case.found_image(1.2), "A").reading
    assert reading is not None
    assert reading.p0_alike == 1
    # Of fewer than 19 others that were found alike too few are lower by chance to say so.
    few = CalibrationSettings(rate=0.5, confidence=0.5, fit_share=0.25, threshold_share=0.5)
    assert judge(case.calibration(count=16, settings=few), case.found_image(1.2), "A").outcome is Outcome.NONE


def test_the_ratio_says_no_more_than_the_processing_that_says_the_least() -> None:
    made = case.calibration()
    score = made.compared("evidence", case.found_image(0.0))
    own, other = (float(made.ratio("evidence", made.compared("evidence", case.found_image(q)))) for q in (0.0, 3.0))
    each = [[float(one.ratio(score)) for one in some] for some in made.likelihood("evidence").values()]
    assert len(each) == 3
    assert own == pytest.approx(min(map(min, each)))
    assert other < 0.1 < 10 < own <= made.largest_ratio("evidence")


def test_the_promise_is_put_into_words() -> None:
    sentence = rate_sentence(case.calibration(), "A")
    assert (
        "real (30), sibling (30), after each of none, jpeg:75, reduce:0.5, whichever it is, are attributed" in sentence
    )
    assert "with 95% confidence for all of them together" in sentence
    assert " of 45 real; " in sentence


def test_a_file_gives_the_same_calibration() -> None:
    made = case.calibration()
    data = encode_calibration(made)
    again = decode_calibration(data)
    assert encode_calibration(again) == data
    assert [one.label for one in again.populations] == [one.label for one in made.populations]
    image = case.found_image(0.7, "jpeg:75")
    assert judge(again, image, "A") == judge(made, image, "A")


def test_a_file_that_contradicts_itself_is_refused() -> None:
    data = encode_calibration(case.calibration())

    def population(record: dict, number: int, **values: object) -> None:  # type: ignore[type-arg]
        record["populations"][number].update(values)

    def without_group(record: dict) -> None:  # type: ignore[type-arg]
        lines = record["populations"][5]["images"]
        lines[0] = " ".join(lines[0].split(" ")[:2])

    def other_group(record: dict) -> None:  # type: ignore[type-arg]
        lines = record["populations"][5]["images"]
        lines[0] = lines[0].replace(" jpeg ", " <b>jpeg</b> ")

    for change in (
        lambda record: record["populations"].pop(1),  # own images after a processing, others not
        lambda record: record["populations"].pop(),
        lambda record: population(record, 1, processing="none"),
        lambda record: population(record, 1, processing="melt:3"),
        lambda record: population(record, 1, processing="jpeg:75 blur:1"),
        lambda record: record["settings"].update(threshold_share=0.9),
        lambda record: record["settings"].update(fit_share=0.05),
        without_group,
        other_group,
    ):
        with pytest.raises((ValueError, UsageError)):
            decode_calibration(changed_file(data, change))  # type: ignore[arg-type]


def test_what_was_found_comes_back_from_its_record() -> None:
    for one in (case.found_image(0.5, "jpeg:75", noise="random"), case.found_image(0, stopped="saturated")):
        again = type(one).from_record(one.to_record())
        assert (again.group, again.why_untold) == (one.group, one.why_untold)
        assert (again.explained is not None, one.explained is not None) == (True, True)
        assert again.explained.text == one.explained.text  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no group"):
        type(one).from_record({**case.found_image(0).to_record(), "group": "no group"})
    with pytest.raises((KeyError, ValueError)):
        Explained.from_record({"processing": "none", "q": -1})


def test_too_few_images_after_a_processing_are_refused_by_name() -> None:
    made = case.calibration()
    few = dataclasses.replace(made.others[2], measurements=made.others[2].measurements[:20])
    others = (*made.others[:2], few, *made.others[3:])
    records = {"method": case.EXACT, "run": {}, "network": made.network}
    with pytest.raises(UsageError, match="'real after jpeg:75' has 20 usable images"):
        make_calibration(case.SETTINGS, made.owns, others, tool="0.2.0", **records)
    assert divide(made.others, case.SETTINGS.shares)[0].splits == made.others[0].splits


def test_the_usual_processings_are_those_of_the_manual() -> None:
    assert PROCESSINGS.split()[0] == "none"
    from invert.attribution.perturbations import parse_perturbations

    assert len(parse_perturbations(PROCESSINGS)) == 16
