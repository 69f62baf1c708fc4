import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net
from wsss_lab.seeds.attention import cam_differences, class_activation_maps, compare_with_cam

torch.set_num_threads(1)


def tiny_net(pooling="average"):
    torch.manual_seed(0)
    net = attention_net(Backbone.from_settings(BACKBONE), 3, pooling).double().eval()
    torch.nn.init.normal_(net.attention.weight, std=100.0)  # features of an untrained head are small
    torch.nn.init.normal_(net.attention.bias)
    return net


def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_activation_map_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]])
    weight = torch.tensor([[2.0, -1.0]])
    assert class_activation_maps(features, weight).tolist() == [[[[-1.0, -1.0]]]]


def test_maps_are_the_weights_that_the_score_gives_to_the_features():
    """The gradient of a score by the features, times the number of pixels: where these weights come from at all."""
    net = tiny_net()
    features = net.scores(images()).detach().requires_grad_()
    net.pool(net.attention(features))[:, 1].sum().backward()
    weighted = (features.grad * features.detach()).sum(1) * features[0, 0].numel()
    torch.testing.assert_close(weighted, class_activation_maps(features, net.attention.weight[:, :, 0, 0])[:, 1])


def test_maps_and_scores_agree():
    assert max(cam_differences(tiny_net(), images()).values()) < 1e-12


def test_a_step_between_both_volumes_would_be_seen():
    class Rectified(type(tiny_net())):
        def class_maps(self, x):
            return self.attention(self.scores(x).relu())

    net = tiny_net()
    net.__class__ = Rectified
    assert min(cam_differences(net, images()).values()) > 1e-3


def test_max_pooling_keeps_the_maps_and_changes_the_scores():
    found = cam_differences(tiny_net("max"), images())
    assert found["maps"] < 1e-12 and found["scores"] > 1e-3


def test_trained_network_of_a_view():
    view = blobs([(32, 32), (24, 32), (32, 20)])
    state = {name: value.float() for name, value in tiny_net().state_dict().items()}
    found = compare_with_cam(view.train_view(), state, BACKBONE, images=2)["differences"]
    assert set(found) == {"maps", "scores"} and max(found.values()) < 1e-9
