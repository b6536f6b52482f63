"""The conformance kit for strategies."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.testing.helpers import foreign_values, global_seed, refuses, some
from metad2a_plugin.testing.toy import ToySpace


class StrategyConformance:
    """The contract of `Strategy`; override `make`, and `make_space` and `value` where the toy ones do not fit.

    Attributes:
        rounds: how many asks and tells a check goes through.
    """

    rounds = 30

    def make_space(self) -> SearchSpace:
        return ToySpace(length=5)

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        raise NotImplementedError("return a new instance of your strategy")

    def value(self, space: SearchSpace, architecture: Architecture) -> float:
        """What a trial of `architecture` reports; higher is better."""
        return random.Random(space.format(architecture)).uniform(50, 95)

    def _fresh(self, seed: int = 0) -> Strategy:
        return self.make(self.make_space(), seed)

    def _tell(self, strategy: Strategy, architectures: Iterable[Architecture]) -> None:
        for architecture in architectures:
            strategy.tell(architecture, self.value(strategy.space, architecture))

    def _drive(self, strategy: Strategy, rounds: int, meanwhile: Strategy | None = None) -> list[Architecture]:
        """Ask for one to three, tell some of them, the later ones first; everything that was asked."""
        asked: list[Architecture] = []
        for turn in range(rounds):
            if meanwhile is not None:
                self._drive(meanwhile, 1)
            batch = strategy.ask(turn % 3 + 1)
            asked += batch
            # One in five trials fails, which a strategy learns by never hearing of it.
            self._tell(strategy, reversed([a for i, a in enumerate(batch) if (turn + i) % 5 != 4]))
        return asked

    def _assert_undisturbed(self, refused: Strategy, undisturbed: Strategy) -> None:
        """`refused` was given what it must not take."""
        assert refused.history == [] and refused.best is None
        assert self._drive(refused, 4) == self._drive(undisturbed, 4), "a refused tell changed the search"

    def test_asks_for_architectures_of_the_space(self) -> None:
        strategy = self._fresh()
        for n in (1, 3, 7):
            batch = strategy.ask(n)
            assert isinstance(batch, list) and 1 <= len(batch) <= n, f"ask({n}) gave {batch!r}"
            assert all(strategy.space.validate(a) == a for a in batch)
        assert strategy.history == [], "ask() must not write the history"

    def test_refuses_wrong_numbers(self) -> None:
        strategy = self._fresh()
        for n in (0, -1, 1.5, True, "2", None):
            with refuses(ConfigError, f"ask({n!r})"):
                strategy.ask(n)  # type: ignore[arg-type]

    def test_same_seed_same_search(self) -> None:
        with global_seed(1):
            first = self._drive(self._fresh(3), self.rounds)
        with global_seed(2):
            assert self._drive(self._fresh(3), self.rounds) == first

    def test_instances_are_independent(self) -> None:
        alone = self._drive(self._fresh(), self.rounds)
        space = self.make_space()
        asked = self._drive(self.make(space, 0), self.rounds, meanwhile=self.make(space, 1))
        assert asked == alone, "another instance in the same process changed the search"

    def test_resumes_from_a_json_state(self) -> None:
        space = self.make_space()
        for cut in sorted({0, 1, 2, 5, self.rounds // 2, self.rounds}):
            strategy = self.make(space, 0)
            self._drive(strategy, cut)
            pending = strategy.ask(2)
            text = json.dumps(strategy.state_dict(), allow_nan=False)
            resumed = self.make(space, 99)
            resumed.load_state_dict(json.loads(text))
            assert resumed.history == strategy.history and resumed.best == strategy.best
            for one in (strategy, resumed):
                self._tell(one, pending)
            assert self._drive(resumed, self.rounds) == self._drive(strategy, self.rounds), (
                f"resumed after {cut} rounds, the search goes another way"
            )

    def test_a_state_is_a_snapshot(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        self._drive(strategy, 4)
        state = strategy.state_dict()
        text = json.dumps(state)
        first = self.make(space, 0)
        first.load_state_dict(state)
        self._drive(strategy, self.rounds)
        self._drive(first, self.rounds)
        assert json.dumps(state) == text, "the search goes on writing into a state it gave away or was given"

    def test_refuses_values_that_are_no_numbers(self) -> None:
        space = self.make_space()
        strategy, undisturbed = self.make(space, 0), self.make(space, 0)
        architecture = strategy.ask(1)[0]
        undisturbed.ask(1)
        for value in (math.nan, math.inf, -math.inf, None, "high"):
            with refuses(ConfigError, f"tell(architecture, {value!r})"):
                strategy.tell(architecture, value)  # type: ignore[arg-type]
        self._assert_undisturbed(strategy, undisturbed)

    def test_refuses_foreign_architectures(self) -> None:
        space = self.make_space()
        strategy, undisturbed = self.make(space, 0), self.make(space, 0)
        for foreign in foreign_values(space):
            with refuses(ArchitectureError, f"tell({foreign!r}, 1.0)"):
                strategy.tell(foreign, 1.0)
        self._assert_undisturbed(strategy, undisturbed)

    def test_hears_trials_in_any_order(self) -> None:
        strategy = self._fresh()
        waiting: list[Architecture] = []
        told = []
        for turn in range(self.rounds):
            waiting += strategy.ask(3)
            # Two of three come back, the newest first, the next one after a long wait.
            done = (waiting.pop(), waiting.pop(0)) if turn > 2 and len(waiting) > 1 else ()
            for architecture in done:
                strategy.tell(architecture, value := self.value(strategy.space, architecture))
                told.append((architecture, value))
        assert strategy.history == told, "the history must hold every tell, in order"

    def test_asks_go_on_when_every_trial_fails(self) -> None:
        strategy = self._fresh()
        asked: list[Architecture] = []
        while len(asked) < 2 * min(strategy.space.size, 50):
            batch = strategy.ask(4)
            asked += batch
            if len(batch) < 4:
                self._tell(strategy, asked)
                assert strategy.ask(1) == [], "it waited for tells: trials that fail would stop the search"
                return

    def test_hears_of_architectures_it_never_asked_for(self) -> None:
        strategy = self._fresh()
        self._tell(strategy, some(strategy.space, 5, seed=11))
        assert len(strategy.history) == 5
        assert all(strategy.space.validate(a) for a in self._drive(strategy, self.rounds))

    def test_hears_one_architecture_twice(self) -> None:
        strategy = self._fresh()
        architecture = strategy.ask(1)[0]
        for value in (60.0, 70.0):
            strategy.tell(architecture, value)
        assert strategy.best == (architecture, 70.0)
        assert len(strategy.ask(1)) == 1

    def test_best_is_the_incumbent(self) -> None:
        strategy = self._fresh()
        assert strategy.best is None
        first, second, third = list(dict.fromkeys(some(strategy.space, 50)))[:3]
        for architecture, value in ((first, 1.0), (second, 2.0), (third, 2.0)):
            strategy.tell(architecture, value)
        assert strategy.best == (second, 2.0), "the incumbent is the best told, the earliest among equals"

    def test_a_space_can_run_out(self) -> None:
        strategy = self._fresh()
        for _ in range(2 * min(strategy.space.size, 6 * self.rounds)):
            batch = strategy.ask(2)
            assert len(batch) <= 2
            self._tell(strategy, batch)
            if len(batch) < 2:
                assert strategy.ask(1) == [], "after a short answer nothing may be left"
                return
