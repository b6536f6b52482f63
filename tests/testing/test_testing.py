"""The kits must catch faults: every broken plug-in here fails the check that is named beside it."""

from __future__ import annotations

import random

import pytest
import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.predictors.cost import FlopsPredictor
from metad2a_plugin.spaces.base import Architecture, Cost
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.strategies import RandomSearch
from metad2a_plugin.testing import PredictorConformance, SearchSpaceConformance, StrategyConformance, ToySpace


class TestToySpace(SearchSpaceConformance):
    def make_space(self):
        return ToySpace(length=4)


class TestNASBench201(SearchSpaceConformance):
    def make_space(self):
        return NASBench201()


class TestMobileNetV3(SearchSpaceConformance):
    def make_space(self):
        return MobileNetV3Space()


class TaskPredictor(Predictor):
    needs_task = True

    def predict(self, task, architectures):
        if task is None:
            raise ConfigError("this predictor needs a task")
        return Prediction(FlopsPredictor(self.space).predict(None, architectures).mean + task.features.mean())


class TestCostPredictorOnMobileNetV3(PredictorConformance):
    def make_space(self):
        return MobileNetV3Space()

    def make(self, space):
        return FlopsPredictor(space)


class TestPredictorWithTask(PredictorConformance):
    def make(self, space):
        return TaskPredictor(space)


def checks(kit):
    return [name for name in dir(kit) if name.startswith("test_")]


def failing(kit):
    failed = set()
    for name in checks(kit):
        try:
            getattr(kit, name)()
        except Exception:  # a broken plug-in may raise anything
            failed.add(name)
    return failed


# -- search spaces ---------------------------------------------------------------------------
class GlobalRandomness(ToySpace):
    def sample(self, rng):
        return super().sample(random.Random(random.random()))


class OneSample(ToySpace):
    def sample(self, rng):
        return self.parse("conv>conv>conv")


class WrongSize(ToySpace):
    def __init__(self):
        super().__init__()
        self.size += 1


class RepeatsInEnumerate(ToySpace):
    def enumerate(self):
        return (Architecture(self.name, (0, 0, 0)) for _ in range(self.size))


class UppercaseFormat(ToySpace):
    def format(self, architecture):
        return super().format(architecture).upper()

    def parse(self, text):
        return super().parse(text.lower() if isinstance(text, str) else text)


class AmbiguousFormat(ToySpace):
    def format(self, architecture):
        return super().format(architecture).replace("skip", "conv")


class LenientParse(ToySpace):
    def parse(self, text):
        return super().parse(text or "conv>conv>conv")


class ParseRaisesKeyError(ToySpace):
    def parse(self, text):
        return Architecture(self.name, tuple({"none": 0, "skip": 1, "conv": 2}[op] for op in text.split(">")))


class NoValidation(ToySpace):
    def validate(self, architecture):
        return architecture


class FloatEncoding(ToySpace):
    def encode(self, architectures):
        return super().encode(architectures).float()


class LossyEncoding(ToySpace):
    def encode(self, architectures):
        return super().encode(architectures).clamp(max=3)


class ReversedDecoding(ToySpace):
    def decode(self, vertices):
        return super().decode(vertices)[::-1]


class DecodesAnything(ToySpace):
    def decode(self, vertices):
        return [Architecture(self.name, tuple(row)) for row in (vertices[..., 1:-1] - 2).long().tolist()]


class UnseededBalance(ToySpace):
    def sample_balanced(self, rng):
        return super().sample_balanced(random.Random(random.random()))


class SaysNothing(ToySpace):
    def describe(self, vertices):
        return super().describe(torch.full_like(vertices, 2))


class StandardisesTheBatch(ToySpace):
    def describe(self, vertices):
        structure, details = super().describe(vertices)
        return structure - structure.mean(0), details


class OfficialPlaces(ToySpace):
    def places(self, vertices):
        return len(self.all_vertices()) - 1 - super().places(vertices)


class EdgeMissing(ToySpace):
    def __init__(self):
        super().__init__()
        self.edges = self.edges[:-1]


class VertexUnconnected(ToySpace):
    def __init__(self):
        super().__init__()
        self.edges = ((0, 1), (1, 3), (3, 4))


class MaskAllowsInputs(ToySpace):
    def type_mask(self, prefix):
        return torch.ones_like(super().type_mask(prefix))


class MaskWithoutSkip(ToySpace):
    def type_mask(self, prefix):
        mask = super().type_mask(prefix)
        mask[:, 3] = False
        return mask


class MaskOfTheFirstRow(ToySpace):
    def type_mask(self, prefix):
        mask = super().type_mask(prefix)
        mask[:, 3] = len(prefix) > 1
        return mask


class TwoForms(ToySpace):
    """Reads ``skip`` after ``none`` as ``none``, but lets both be drawn."""

    def decode(self, vertices):
        dead = ((vertices == 2).cumsum(1) > 0) & (vertices == 3)
        return super().decode(torch.where(dead, 2, vertices))


class OneWayNeighbors(ToySpace):
    def neighbors(self, architecture):
        return [a for a in super().neighbors(architecture) if a > architecture] or super().neighbors(architecture)[:1]


class OwnNeighbor(ToySpace):
    def neighbors(self, architecture):
        return [*super().neighbors(architecture), architecture]


class LazyMutation(ToySpace):
    def mutate(self, architecture, rng):
        return super().neighbors(architecture)[0]


class FarMutation(ToySpace):
    def mutate(self, architecture, rng):
        return super().mutate(super().mutate(architecture, rng), rng)


class ChildOfNobody(ToySpace):
    def crossover(self, first, second, rng):
        return self.mutate(first, rng)


class ChildOfOne(ToySpace):
    def crossover(self, first, second, rng):
        return self.validate(first if self.validate(second) else second)


class DrawsAllAnew(ToySpace):
    def resample(self, architecture, probability, rng):
        return self.sample(rng)


class ForgetsTheFixedCost(ToySpace):
    def vertex_costs(self, **options):
        costs = super().vertex_costs(**options)
        costs[:, 0] = 0
        return costs


class CanonicalIsConstant(ToySpace):
    def canonical(self, architecture):
        super().canonical(architecture)
        return "same"


class DeathIgnored(ToySpace):
    def canonical(self, architecture):
        super().canonical(architecture)
        return str(architecture.choices.count(2))


class Cyclic(ToySpace):
    def to_networkx(self, architecture):
        graph = super().to_networkx(architecture)
        graph.add_edge(self.num_vertices - 1, 0)
        return graph


class UnnamedOps(ToySpace):
    def to_networkx(self, architecture):
        graph = super().to_networkx(architecture)
        graph.nodes[0]["op"] = "conv"
        return graph


class WrongClasses(ToySpace):
    def build(self, architecture, num_classes, **options):
        return super().build(architecture, num_classes + 1)


class OtherCosts(ToySpace):
    def costs(self, vertices, **options):
        params, flops = super().costs(vertices, **options)
        return params, flops + 1


class OtherIds(ToySpace):
    def canonical_ids(self, vertices):
        return torch.arange(len(vertices))


class WrongCost(ToySpace):
    def cost(self, architecture, **options):
        cost = super().cost(architecture, **options)
        return Cost(cost.params * 1.01, cost.flops)


@pytest.mark.parametrize(
    ("space", "check"),
    [
        (GlobalRandomness, "test_sampling_follows_the_generator"),
        (OneSample, "test_sampling_follows_the_generator"),
        (WrongSize, "test_enumerates_every_architecture_once"),
        (RepeatsInEnumerate, "test_enumerates_every_architecture_once"),
        (AmbiguousFormat, "test_parse_reads_what_format_writes"),
        (LenientParse, "test_parse_refuses_nonsense"),
        (ParseRaisesKeyError, "test_parse_refuses_nonsense"),
        (NoValidation, "test_foreign_architectures_are_refused"),
        (FloatEncoding, "test_decode_inverts_encode"),
        (LossyEncoding, "test_decode_inverts_encode"),
        (ReversedDecoding, "test_decode_inverts_encode"),
        (DecodesAnything, "test_decode_refuses_what_encode_cannot_give"),
        (UnseededBalance, "test_sampling_follows_the_generator"),
        (SaysNothing, "test_descriptors_tell_architectures_apart"),
        (StandardisesTheBatch, "test_descriptors_tell_architectures_apart"),
        (OfficialPlaces, "test_places_are_those_of_the_sorted_list"),
        (EdgeMissing, "test_edges_join_the_encoded_vertices"),
        (VertexUnconnected, "test_edges_join_the_encoded_vertices"),
        (MaskAllowsInputs, "test_whatever_the_type_mask_lets_through_is_an_architecture"),
        (TwoForms, "test_whatever_the_type_mask_lets_through_is_an_architecture"),
        (MaskWithoutSkip, "test_the_type_mask_lets_every_architecture_through"),
        (MaskOfTheFirstRow, "test_the_type_mask_lets_every_architecture_through"),
        (OneWayNeighbors, "test_neighbors_are_symmetric"),
        (OwnNeighbor, "test_neighbors_are_symmetric"),
        (LazyMutation, "test_mutation_reaches_every_neighbor_and_nothing_else"),
        (FarMutation, "test_mutation_reaches_every_neighbor_and_nothing_else"),
        (ChildOfNobody, "test_crossover_mixes_its_parents"),
        (ChildOfOne, "test_crossover_mixes_its_parents"),
        (DrawsAllAnew, "test_decisions_are_drawn_anew_with_a_probability"),
        (ForgetsTheFixedCost, "test_costs_are_sums_over_vertices_where_a_space_says_so"),
        (OtherIds, "test_canonical_keys_agree_with_networks"),
        (CanonicalIsConstant, "test_canonical_keys_agree_with_networks"),
        (DeathIgnored, "test_canonical_keys_agree_with_networks"),
        (Cyclic, "test_graph_shows_the_encoded_vertices"),
        (UnnamedOps, "test_graph_shows_the_encoded_vertices"),
        (WrongClasses, "test_network_fits_its_classes_and_its_cost"),
        (OtherCosts, "test_network_fits_its_classes_and_its_cost"),
        (WrongCost, "test_network_fits_its_classes_and_its_cost"),
    ],
)
def test_broken_spaces_are_caught(space, check):
    kit = SearchSpaceConformance()
    kit.make_space = space
    # One fault breaks some checks, never all of them: else it is the test that is broken.
    assert check in failing(kit) < set(checks(kit))


def test_another_notation_is_no_fault():
    kit = SearchSpaceConformance()
    kit.make_space = UppercaseFormat
    assert not failing(kit)


# -- strategies ------------------------------------------------------------------------------
class UnseededSearch(RandomSearch):
    def _ask(self, n):
        return [self.space.sample(random) for _ in range(n)]


class AsksTooMany(RandomSearch):
    def _ask(self, n):
        return super()._ask(n + 1)


class AsksForeign(RandomSearch):
    def _ask(self, n):
        return [Architecture("elsewhere", (0,))] * n


class AsksNothing(RandomSearch):
    def _ask(self, n):
        return []


class SwallowsWrongNumbers(RandomSearch):
    def ask(self, n=1):
        return self._ask(int(n or 1))


class SharedGenerator(RandomSearch):
    shared = random.Random()

    def __init__(self, space, *, seed=0):
        super().__init__(space, seed=seed)
        self.shared.seed(seed)
        self.rng = self.shared


class ForgetsState(RandomSearch):
    def load_state_dict(self, state):
        Strategy.load_state_dict(self, state)


class ForgetsRng(RandomSearch):
    def load_state_dict(self, state):
        rng = self.rng.getstate()
        super().load_state_dict(state)
        self.rng.setstate(rng)


class ArchitecturesInState(RandomSearch):
    def state_dict(self):
        return super().state_dict() | {"last": {a for a, _ in self.history}}


class LiveState(RandomSearch):
    def __init__(self, space, *, seed=0):
        super().__init__(space, seed=seed)
        self.told = []

    def _tell(self, architecture, value):
        super()._tell(architecture, value)
        self.told.append(value)

    def state_dict(self):
        return super().state_dict() | {"told": self.told}


class AcceptsNaN(RandomSearch):
    def tell(self, architecture, value):
        self.history.append((self.space.validate(architecture), value))


class RemembersRefused(RandomSearch):
    def tell(self, architecture, value):
        self.rng.random()
        super().tell(architecture, value)


class AcceptsForeign(RandomSearch):
    def tell(self, architecture, value):
        if not value == value or value in (None, "high", float("inf"), float("-inf")):
            raise ConfigError("not a number")
        self.history.append((architecture, value))


class KnowsOnlyAsked(RandomSearch):
    def __init__(self, space, *, seed=0):
        super().__init__(space, seed=seed)
        self.asked = []

    def _ask(self, n):
        self.asked += (batch := super()._ask(n))
        return batch

    def _tell(self, architecture, value):
        self.asked.remove(architecture)


class InOrderOnly(KnowsOnlyAsked):
    def _tell(self, architecture, value):
        assert self.asked.pop(0) == architecture


class Stalls(RandomSearch):
    """Waits for every tell, and says so by asking for nothing."""

    def __init__(self, space, *, seed=0):
        super().__init__(space, seed=seed)
        self.pending = 0

    def _ask(self, n):
        if self.pending:
            return []
        batch = super()._ask(n)
        self.pending += len(batch)
        return batch

    def _tell(self, architecture, value):
        self.pending -= 1


class LatestIsBest(RandomSearch):
    @property
    def best(self):
        return max(reversed(self.history), key=lambda pair: pair[1], default=None)


class ShortThenMore(RandomSearch):
    def _ask(self, n):
        return super()._ask(n - 1 if len(self.history) == 8 and n > 1 else n)


@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        (UnseededSearch, "test_same_seed_same_search"),
        (AsksTooMany, "test_asks_for_architectures_of_the_space"),
        (AsksForeign, "test_asks_for_architectures_of_the_space"),
        (AsksNothing, "test_asks_for_architectures_of_the_space"),
        (SwallowsWrongNumbers, "test_refuses_wrong_numbers"),
        (SharedGenerator, "test_instances_are_independent"),
        (ForgetsState, "test_resumes_from_a_json_state"),
        (ForgetsRng, "test_resumes_from_a_json_state"),
        (ArchitecturesInState, "test_resumes_from_a_json_state"),
        (LiveState, "test_a_state_is_a_snapshot"),
        (AcceptsNaN, "test_refuses_values_that_are_no_numbers"),
        (RemembersRefused, "test_refuses_values_that_are_no_numbers"),
        (RemembersRefused, "test_refuses_foreign_architectures"),
        (AcceptsForeign, "test_refuses_foreign_architectures"),
        (InOrderOnly, "test_hears_trials_in_any_order"),
        (KnowsOnlyAsked, "test_hears_of_architectures_it_never_asked_for"),
        (KnowsOnlyAsked, "test_hears_one_architecture_twice"),
        (Stalls, "test_asks_for_architectures_of_the_space"),
        (Stalls, "test_asks_go_on_when_every_trial_fails"),
        (LatestIsBest, "test_best_is_the_incumbent"),
        (ShortThenMore, "test_a_space_can_run_out"),
    ],
)
def test_broken_strategies_are_caught(strategy, check):
    kit = StrategyConformance()
    kit.make = lambda space, seed: strategy(space, seed=seed)
    # One fault breaks some checks, never all of them: else it is the test that is broken.
    assert check in failing(kit) < set(checks(kit))


# -- predictors ------------------------------------------------------------------------------
class NoPrediction(FlopsPredictor):
    def predict(self, task, architectures):
        return super().predict(task, architectures).mean


class DoublePrecision(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(super().predict(task, architectures).mean.double())


class UnknownSpread(FlopsPredictor):
    def predict(self, task, architectures):
        scores = super().predict(task, architectures).mean
        return Prediction(scores, torch.full_like(scores, torch.nan))


class OtherWhenEncoded(FlopsPredictor):
    def predict(self, task, architectures):
        scores = super().predict(task, architectures).mean
        return Prediction(2 * scores if isinstance(architectures, torch.Tensor) else scores)


class Squeezes(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(super().predict(task, architectures).mean.squeeze())


class Constant(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(0 * super().predict(task, architectures).mean)


class WithGradient(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(super().predict(task, architectures).mean * torch.ones(1, requires_grad=True))


class Noisy(FlopsPredictor):
    def predict(self, task, architectures):
        scores = super().predict(task, architectures).mean
        return Prediction(scores + torch.rand_like(scores))


class Sorts(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(super().predict(task, architectures).mean.sort().values)


class NormalisesTheBatch(FlopsPredictor):
    def predict(self, task, architectures):
        scores = super().predict(task, architectures).mean
        return Prediction(scores - scores.mean() if len(scores) else scores)


class ListsOnly(FlopsPredictor):
    def predict(self, task, architectures):
        if not isinstance(architectures, torch.Tensor):
            architectures = [] + architectures  # noqa: RUF005 - fails on a tuple
        return super().predict(task, architectures)


class NoCheck(FlopsPredictor):
    def predict(self, task, architectures):
        return Prediction(torch.tensor([float(len(str(a))) for a in architectures]))


class ClaimsTask(FlopsPredictor):
    needs_task = True


class HidesTask(TaskPredictor):
    needs_task = False


class CountsCalls(FlopsPredictor):
    calls = 0

    def predict(self, task, architectures):
        self.calls += 1
        return Prediction(super().predict(task, architectures).mean + self.calls)


@pytest.mark.parametrize(
    ("predictor", "check"),
    [
        (NoPrediction, "test_one_finite_score_each"),
        (DoublePrecision, "test_one_finite_score_each"),
        (UnknownSpread, "test_one_finite_score_each"),
        (OtherWhenEncoded, "test_encoded_or_not"),
        (WithGradient, "test_one_finite_score_each"),
        (Squeezes, "test_batches_of_one_and_none"),
        (Constant, "test_tells_architectures_apart"),
        (Noisy, "test_same_input_same_scores"),
        (CountsCalls, "test_same_input_same_scores"),
        (Sorts, "test_scores_follow_the_order"),
        (NormalisesTheBatch, "test_scores_do_not_depend_on_the_batch"),
        (ListsOnly, "test_any_sequence_will_do"),
        (NoCheck, "test_refuses_foreign_architectures"),
        (ClaimsTask, "test_the_task_matters_exactly_when_it_is_needed"),
        (HidesTask, "test_the_task_matters_exactly_when_it_is_needed"),
    ],
)
def test_broken_predictors_are_caught(predictor, check):
    kit = PredictorConformance()
    kit.make = predictor
    # One fault breaks some checks, never all of them: else it is the test that is broken.
    assert check in failing(kit) < set(checks(kit))


def test_every_check_of_every_kit_catches_something():
    tests = (test_broken_spaces_are_caught, test_broken_strategies_are_caught, test_broken_predictors_are_caught)
    caught = {
        mark.args[1][i][1]
        for test in tests
        for mark in test.pytestmark
        for i in range(len(mark.args[1]))
    }
    kits = (SearchSpaceConformance, StrategyConformance, PredictorConformance)
    assert {name for kit in kits for name in checks(kit)} - caught == set()


def test_kits_need_no_pytest():
    import subprocess
    import sys

    code = "import sys; import metad2a_plugin.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
