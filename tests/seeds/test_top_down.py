"""Top-down attention: Eqs. 4 to 7 neuron by neuron, its switches, its relation to excitation back-propagation."""

import itertools
from dataclasses import replace

import pytest
import torch
from tiny_views import uniform
from torch import nn

from wsss_lab.errors import ParameterError
from wsss_lab.seeds import top_down
from wsss_lab.seeds.fusion_net import aggregation
from wsss_lab.seeds.neighbours import SPACING, cell_colours, similarity
from wsss_lab.seeds.rectified_gaussian import MODES, mode
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps

GRID, LABELS = (3, 4), 3
CELLS = list(itertools.product(range(GRID[0]), range(GRID[1])))
PARENTS = Attention("none", activation=0.0)


class Tiny(nn.Module):
    """Two channels -> 3x3 convolution -> 3x3 max pooling -> label maps -> scores, in doubles."""

    def __init__(self, kind="FCL", dropout=0.0):
        super().__init__()
        torch.manual_seed(3)
        self.upper = nn.ModuleList([
            nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Dropout2d(dropout),
            nn.Conv2d(3, LABELS, 1)])
        self.aggregation = aggregation(kind, LABELS, GRID)
        if kind == "FCL":
            nn.init.normal_(self.aggregation.weight, 0.2)
        for layer in (self.upper[0], self.upper[-1]):  # weights of both signs; each neuron has a child that excites it
            nn.init.normal_(layer.weight)
            layer.weight.data[range(3), [0, 1, 0] if layer is self.upper[0] else range(3)] += 2
        self.double()


def some_weights(batch=2, grid=GRID):
    colours = 25 * uniform(batch, 3, *grid, seed=9)
    colours[..., grid[1] // 2:] += 60
    return similarity(colours)


def everything(batch=2):
    return torch.ones(batch, LABELS, dtype=torch.bool)


FEATURES = uniform(2, 2, *GRID) - 0.2  # what is negative attends to nothing


def handed_down(children, parents, weight):
    """Eqs. 5 and 6. children: {neuron: a}. parents: {neuron: p}. weight(child, parent): w."""
    received = dict.fromkeys(children, 0.0)
    for parent, p in parents.items():
        shares = {child: max(weight(child, parent), 0) * a for child, a in children.items()}
        total = sum(shares.values())
        for child, share in shares.items():
            received[child] += p * share / total if total > 0 else 0
    return received


def neurons(activation):
    """{(channel, row, column): max(a, 0)} of a layer (c, h, w)."""
    return {place: max(float(activation[place]), 0.0) for place in itertools.product(*map(range, activation.shape))}


def shared_out(received, activation, how, weights):
    """Eqs. 7 and 3 at one layer, and the division by the sum. weights: of one image, (1, window, h, w)."""
    total = sum(activation.values())
    b = {place: value + how.activation * activation[place] / total for place, value in received.items()}
    channels = {place[0] for place in b}
    maps = torch.tensor([[b[channel, *cell] for cell in CELLS] for channel in sorted(channels)])
    found = mode(maps.double().view(1, len(channels), *GRID), weights, how.neighbours, how.rho).maps[0]
    found = neurons(found / found.sum())
    return {place: found[place] for place in b}


def slow_map(net, features, label, weights, how):
    """Attention (h, w) of one label on one image, by loops over neurons."""
    convolution, _, _, _, classifier = net.upper
    hidden = convolution(features[None]).relu()[0].detach()
    pooled = nn.functional.max_pool2d(hidden, 3, 1, 1)
    maps = classifier(pooled[None])[0].detach()
    inside = replace(how, neighbours="none", activation=0.0) if how.layers == "last" else how
    fcl, kernel, scores = (layer.weight.detach() for layer in (net.aggregation, convolution, classifier))

    mass = handed_down(neurons(maps), {label: 1.0},
                       lambda child, parent: float(fcl[child]) if child[0] == parent else 0.0)
    mass = shared_out(mass, neurons(maps), inside, weights)
    mass = handed_down(neurons(pooled), mass, lambda child, parent: float(scores[parent[0], child[0], 0, 0])
                       if child[1:] == parent[1:] else 0.0)
    mass = shared_out(mass, neurons(pooled), inside, weights)

    winners = dict.fromkeys(neurons(hidden), 0.0)
    for (channel, row, column), p in mass.items():
        window = [(channel, *cell) for cell in CELLS if abs(cell[0] - row) <= 1 and abs(cell[1] - column) <= 1]
        winners[max(window, key=lambda place: float(hidden[place]))] += p
    mass = shared_out(winners, neurons(hidden), inside, weights)

    def reach(child, parent):
        row, column = child[1] - parent[1] + 1, child[2] - parent[2] + 1
        return float(kernel[parent[0], child[0], row, column]) if 0 <= row < 3 and 0 <= column < 3 else 0.0

    mass = shared_out(handed_down(neurons(features), mass, reach), neurons(features), how, weights)
    return torch.tensor([mass[0, *cell] + mass[1, *cell] for cell in CELLS], dtype=torch.float64).view(GRID)


@pytest.mark.parametrize("how", [
    PARENTS, Attention("none"), Attention("none", activation=0.3), Attention("none", layers="last"), Attention(),
    Attention(activation=0.0, rho=0.5), Attention(layers="last"), Attention("steps"), Attention("literal")], ids=str)
def test_attention_equals_loops_over_neurons(how):
    net, weights = Tiny(), some_weights()
    found = top_down_maps(net, FEATURES, everything(), weights, how)
    expected = [slow_map(net, FEATURES[image], label, weights[image:image + 1], how)
                for image in range(2) for label in range(LABELS)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(len(found), dtype=torch.float64))


def test_the_order_is_that_of_the_present_labels_and_labels_do_not_mix():
    net, weights, how = Tiny(), some_weights(), Attention()
    whole = top_down_maps(net, FEATURES, everything(), weights, how).view(2, LABELS, *GRID)
    present = torch.tensor([[False, True, False], [True, False, True]])
    torch.testing.assert_close(top_down_maps(net, FEATURES, present, weights, how), whole[present])
    alone = top_down_maps(net, FEATURES[1:], everything(1), weights[1:], how)
    torch.testing.assert_close(alone, whole[1])
    assert top_down_maps(net, FEATURES, ~everything(), weights, how).shape == (0, *GRID)


@pytest.mark.parametrize("neighbours", MODES)
def test_a_label_without_positive_evidence_gets_nothing_from_its_parents(neighbours):
    net = Tiny()
    net.upper[-1].weight.data.abs_()
    net.upper[-1].weight.data[1] *= -1
    net.upper[-1].bias.data[1] = -1
    maps = top_down_maps(net, FEATURES, everything(), some_weights(), Attention(neighbours, activation=0.0))
    torch.testing.assert_close(maps.sum((1, 2)), torch.tensor([1, 0, 1] * 2, dtype=torch.float64))


def test_gmp_attends_to_the_winner_and_lse_to_what_is_near_it():
    """A network of label maps alone: one channel each, which is what the scores see."""
    features = uniform(1, LABELS, *GRID)
    found = {}
    for kind in ("GMP", "LSE", "GAP"):
        net = Tiny(kind)
        net.upper = nn.ModuleList([nn.Conv2d(LABELS, LABELS, 1, bias=False).double()])
        net.upper[0].weight.data = torch.eye(LABELS, dtype=torch.float64)[..., None, None]
        found[kind] = top_down_maps(net, features, everything(1), some_weights(1), PARENTS)
    assert torch.equal(found["GMP"], (features == features.amax((2, 3), keepdim=True)).double()[0])
    torch.testing.assert_close(found["GAP"], features[0] / features[0].sum((1, 2), keepdim=True))
    expected = features[0] * (5 * features[0]).exp()
    torch.testing.assert_close(found["LSE"], expected / expected.sum((1, 2), keepdim=True))


def test_cells_are_as_far_apart_as_in_the_paper_on_any_grid():
    """On one colour, the neighbours' weights are those of 8 pixels: exp(-0.64), and exp(-2.56) two cells away."""
    images = torch.full((1, 3, 24, 32), 90, dtype=torch.uint8)
    for grid in ((3, 4), (12, 16)):
        weights = cell_weights(images, grid)[0, :, 1, 1].view(7, 7)
        assert weights[3, 3:6].tolist() == pytest.approx([1, 0.527292, 0.077305], rel=1e-5)
    images[..., :16, 0:5] = 200
    torch.testing.assert_close(cell_weights(images, (3, 4)), similarity(cell_colours(images, (3, 4)), SPACING))


@pytest.mark.parametrize(("background", "maps", "present", "expected"), [
    # shares (1, 1/2, 1/4, 0) and (1, 1, 1/4, 0) of the maxima leave (0, 0, 3/4, 1) to the background
    ("complement", [[0.8, 0.4, 0.2, 0.0], [0.4, 0.4, 0.1, 0.0]], [True, True, False, True],
     [[0, 0, 3 / 5, 1], [1 / 2, 1 / 3, 1 / 5, 0], [0, 0, 0, 0], [1 / 2, 2 / 3, 1 / 5, 0]]),
    # of its own unit, the first map, always; (1/3, 1, 1) and (1, 1/2, 0) of the maxima
    ("unit", [[0.1, 0.3, 0.3], [0.2, 0.1, 0.0]], [False, False, True],
     [[1 / 4, 2 / 3, 1], [0, 0, 0], [3 / 4, 1 / 3, 0]])])
def test_attention_of_labels_by_hand(monkeypatch, background, maps, present, expected):
    asked = []
    monkeypatch.setattr(top_down, "top_down_maps",
                        lambda *arguments: asked.append(arguments[2]) or torch.tensor(maps)[:, None])
    found = Attention(background=background).label_attention(None, None, torch.tensor([present]), None)
    torch.testing.assert_close(found, torch.tensor(expected)[None, :, None])
    assert asked[0].tolist() == [[background == "unit", *present[1:]]]


@pytest.mark.parametrize(("bad", "message"), [
    ({"neighbours": "exact"}, "neighbours='exact'(.|\n)*literal or steps or smooth or none"),
    ({"layers": "first"}, "layers='first'(.|\n)*all or last"),
    ({"background": "none"}, "background='none'(.|\n)*complement or unit"),
    ({"activation": -1.0}, "activation=-1.0(.|\n)*a weight of 0 or more")])
def test_switches_without_meaning_are_refused(bad, message):
    with pytest.raises(ParameterError, match=message):
        Attention(**bad)
