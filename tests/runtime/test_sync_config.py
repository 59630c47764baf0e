"""The configuration refuses what cannot work, and the environment has the last word, spelled right."""

from dataclasses import replace

import pytest

from antiphon.facts import LocalViolation
from antiphon.runtime.resilience import ExponentialWithJitter, RateLimits
from antiphon.runtime.services.sync_config import AntiEntropyConfig


def test_the_defaults_are_those_of_the_reference() -> None:
    config = AntiEntropyConfig()
    assert (config.batch_size, config.rounds_max, config.concurrent_max) == (128, 10, 5)
    assert (config.digest_timeout_s, config.transfer_timeout_s, config.total_timeout_s) == (10.0, 30.0, 120.0)
    assert config.retry_policy.attempts_max == 3
    assert config.retry_policy.delays == ExponentialWithJitter(0.1, 30.0, 2.0, 0.1)
    assert config.rate_limits == RateLimits(1_000.0, 100.0, 200.0)
    assert (config.min_interval_s, config.peer_back_off_s, config.trust_min) == (30.0, 300.0, 50)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1_001}, "at most 1000"),
        ({"rounds_max": -1}, "rounds_max is -1"),
        ({"digest_timeout_s": 0.0}, "digest_timeout_s is 0"),
        ({"digest_timeout_s": float("nan")}, "digest_timeout_s is nan"),
        ({"digest_timeout_s": 200.0}, "more than total_timeout_s"),
        ({"retry_base_s": 60.0}, "more than retry_cap_s"),
        ({"retry_jitter": 1.5}, "at most 1"),
        ({"retry_factor": 0.5}, "1 or more"),
        ({"rate_peer_per_s": 2_000.0}, "more than rate_global_per_s"),
        ({"trust_min": 101}, "at most 100"),
        ({"retry_attempts": True}, "retry_attempts is True"),
        ({"rounds_max": 1.5}, "rounds_max is 1.5; it must be a whole number"),
        ({"batch_size": 128.0}, "a whole number"),
        ({"rate_burst": float("inf")}, "a finite number"),
        ({"total_timeout_s": float("inf")}, "a finite number"),
    ],
)
def test_a_value_that_cannot_work_is_refused(changes: dict[str, float], reason: str) -> None:
    with pytest.raises(LocalViolation, match=reason):
        replace(AntiEntropyConfig(), **changes)  # type: ignore[arg-type]  # that is the claim


def test_presets_are_valid_and_testing_is_shorter() -> None:
    testing, production = AntiEntropyConfig.for_testing(), AntiEntropyConfig.for_production({})
    assert production == AntiEntropyConfig()
    assert testing.total_timeout_s < production.total_timeout_s
    assert testing.peer_back_off_s < production.peer_back_off_s


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_SYNC_BATCH_SIZE", "7")
    monkeypatch.setenv("ANTIPHON_SYNC_DIGEST_TIMEOUT_S", "2.5")
    config = AntiEntropyConfig.for_production()
    assert (config.batch_size, config.digest_timeout_s) == (7, 2.5)
    settings = config.settings()
    assert (settings.batch_facts_max, settings.digest_timeout_s, settings.rounds_max) == (7, 2.5, 10)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ANTIPHON_SYNC_BATCHSIZE", "7", "did you mean ANTIPHON_SYNC_BATCH_SIZE"),
        ("ANTIPHON_SYNC_BATCH_SIZE", "many", "expected a number"),
        ("ANTIPHON_SYNC_BATCH_SIZE", "0", "batch_size is 0"),
        ("ANTIPHON_SYNC_BATCH_SIZE", "1.5", "expected a number"),
    ],
)
def test_a_wrong_word_in_the_environment_is_told(name: str, text: str, reason: str) -> None:
    with pytest.raises(LocalViolation, match=reason):
        AntiEntropyConfig.for_production({name: text})
