"""What a variant does to a picture, and that each split keeps to its own ranges."""

import mujoco
import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from scene import BEHIND, room

from ilfo._tools.errors import InputError
from ilfo.variants import KINDS, Variant
from ilfo.variants.bodies import moved
from ilfo.variants.picture import Picture

SPLITS = ("seen", "unseen")
SEVERAL = [(split, index) for split in SPLITS for index in range(4)]


def picture(kind, split, index, passive=None):
    model, data = room() if passive is None else room(passive)
    taken = Picture(model, data, Variant(kind, index, split))
    taken.pose(data)
    return model, data, taken


def within(number, split, seen, unseen):
    low, high = seen if split == "seen" else unseen
    return low - 1e-5 <= number <= high + 1e-5


def arrays(model):
    """All that a model is made of."""
    parts = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    parts |= {f"headlight {name}": getattr(model.vis.headlight, name) for name in ("ambient", "diffuse")}
    return {name: part.copy() for name, part in parts.items() if isinstance(part, np.ndarray)}


def eye(model, data, name="front"):
    camera, scene = mujoco.MjvCamera(), mujoco.MjvScene(model, 100)
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
    mujoco.mjv_updateCamera(model, data, camera, scene)
    return mujoco.mjv_averageCamera(*scene.camera)


@pytest.mark.parametrize("kind", KINDS)
def test_the_simulated_model_is_never_touched(kind):
    model, data = room()
    before, state = arrays(model), data.geom_xpos.copy()
    Picture(model, data, Variant(kind, 0, "unseen")).pose(data)
    after = arrays(model)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.array_equal(state, data.geom_xpos)


def test_every_kind_but_what_stands_beside_it_changes_the_copy():
    for kind in set(KINDS) - {"distractors"}:
        model, data, taken = picture(kind, "seen", 0)
        old, new = arrays(model), arrays(taken.model)
        edited = {name for name in old if not np.array_equal(old[name], new[name])}
        placed = not np.array_equal(taken.data.cam_xpos, data.cam_xpos)
        assert bool(edited) != placed, kind
        assert not edited & {"body_mass", "body_inertia", "geom_friction", "jnt_pos", "qpos0"}


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_colours_are_of_the_splits_hues(split, index):
    _, _, taken = picture("colours", split, index)
    hue, saturation, value = rgb_to_hsv(taken.model.geom_rgba[:, :3]).T
    assert all(within(each, split, (0, 0.45), (0.5, 0.95)) for each in hue)
    assert saturation.min() > 0.49
    assert value.min() > 0.34


def test_what_shared_a_colour_shares_the_new_one():
    model, _, taken = picture("colours", "seen", 1)
    rgba = {name: tuple(taken.model.geom(name).rgba) for name in ("table", "ball", "can", "box", "arm")}
    assert rgba["table"] == rgba["ball"] == rgba["can"]
    assert len(set(rgba.values())) == 3
    assert np.array_equal(taken.model.site_rgba, model.site_rgba)


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_textures_are_of_the_splits_patterns(split, index):
    """Checkers and stripes cover half of a texture, dots and rings less."""
    model, _, taken = picture("textures", split, index)
    assert (taken.model.mat_texid[taken.model.geom_matid, mujoco.mjtTextureRole.mjTEXROLE_RGB] >= 0).all()
    for start, height, width in zip(model.tex_adr, model.tex_height, model.tex_width, strict=True):
        pixels = taken.model.tex_data[start : start + 3 * height * width].reshape(-1, 3)
        _, counts = np.unique(pixels, axis=0, return_counts=True)
        assert len(counts) == 2
        assert (abs(counts[0] / counts.sum() - 0.5) < 0.035) == (split == "seen")


def test_what_has_no_texture_says_so():
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    with pytest.raises(InputError, match="no textures"):
        Picture(model, mujoco.MjData(model), Variant("textures", 0))


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_lamps_tilt_and_shine_by_the_splits_ranges(split, index):
    model, data, taken = picture("lights", split, index)
    assert within(np.rad2deg(np.arccos(-taken.data.light_xdir[0, 2])), split, (5, 20), (30, 45))
    centre = model.stat.center
    assert np.isclose(*(np.linalg.norm(each.light_xpos[0] - centre) for each in (data, taken.data)))
    factor = taken.model.light_diffuse[0] / model.light_diffuse[0]
    assert within(factor.max(), split, (0.85, 1.2), (0.5, 0.75))
    assert within(1 - factor.min() / factor.max(), split, (0, 0.1), (0.25, 0.4))
    assert np.allclose(taken.model.vis.headlight.diffuse, factor * model.vis.headlight.diffuse)


@pytest.mark.parametrize("name", ["front", "hung"])
@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_cameras_go_around_and_up_by_the_splits_ranges(split, index, name):
    _, data, taken = picture("camera", split, index)
    camera = data.camera(name).id
    old, new = (each.cam_xmat[camera].reshape(3, 3) for each in (data, taken.data))
    heading, rise = (
        [np.rad2deg(np.arctan2(frame[1, 2], frame[0, 2])) for frame in (old, new)],
        [np.rad2deg(np.arcsin(frame[2, 2])) for frame in (old, new)],
    )
    assert within(abs(heading[1] - heading[0]), split, (3, 12), (18, 30))
    assert within(rise[1] - rise[0], split, (0, 5), (8, 15))
    assert taken.data.cam_xpos[camera, 2] > data.cam_xpos[camera, 2]
    assert np.allclose(new @ new.T, np.eye(3))


def test_free_cameras_move_alike():
    _, _, taken = picture("camera", "unseen", 0)
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation, camera.distance = 90.0, -80.0, 2.0
    taken.aim(camera)
    assert 18 <= abs(camera.azimuth - 90) <= 30
    assert -89 <= camera.elevation <= -88
    assert 2.3 <= camera.distance <= 2.6


def test_only_what_moves_undriven_and_visible_is_reshaped():
    model, _ = room()
    assert {model.geom(number).name for number in moved(model)} == {"box", "ball", "can", "wedge"}


def test_where_all_is_driven_all_is_reshaped():
    model, _ = room("")
    assert {model.geom(number).name for number in moved(model)} == {"arm"}


def test_what_is_fixed_to_a_thing_that_moves_is_reshaped_with_it():
    text = (
        "<mujoco><worldbody>"
        "<geom name='table' size='1 1 .1' type='box'/>"
        "<body><geom name='box' size='.2 .2 .1' type='box'/>"
        "<body pos='0 0 .2'><joint type='slide'/><geom name='button' size='.05'/></body></body>"
        "</worldbody></mujoco>"
    )
    model = mujoco.MjModel.from_xml_string(text)
    assert [model.geom(number).name for number in moved(model)] == ["box", "button"]


@pytest.mark.parametrize(
    "tie", ["<weld body1='mocap' body2='hand'/>", "<connect body1='hand' body2='mocap' anchor='0 0 0'/>"]
)
def test_what_is_tied_to_a_mocap_body_is_driven(tie):
    text = (
        "<mujoco><worldbody>"
        "<body name='mocap' mocap='true'><geom name='mark' size='.1'/></body>"
        "<body><joint/><geom name='arm' size='.1'/>"
        "<body name='hand' pos='0 0 .2'><joint/><geom name='hand' size='.1'/></body></body>"
        "<body><freejoint/><geom name='free' size='.1'/></body>"
        f"</worldbody><equality>{tie}</equality></mujoco>"
    )
    model = mujoco.MjModel.from_xml_string(text)
    assert [model.geom(number).name for number in moved(model)] == ["free"]


def test_a_tendon_drives_what_it_goes_through():
    text = (
        "<mujoco><worldbody>"
        "<body><joint name='a'/><geom name='pulled' size='.1'/></body>"
        "<body><freejoint/><geom name='free' size='.1'/></body>"
        "</worldbody><tendon><fixed name='t'><joint joint='a' coef='1'/></fixed></tendon>"
        "<actuator><motor tendon='t'/></actuator></mujoco>"
    )
    model = mujoco.MjModel.from_xml_string(text)
    assert [model.geom(number).name for number in moved(model)] == ["free"]


@pytest.mark.parametrize("kind", ["proportions", "shapes"])
def test_where_nothing_moves_nothing_is_reshaped(kind):
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    with pytest.raises(InputError, match="nothing in this environment moves"):
        Picture(model, mujoco.MjData(model), Variant(kind, 0))


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_proportions_stretch_by_the_splits_ranges(split, index):
    model, _, taken = picture("proportions", split, index)
    sizes = [
        (model.geom("box").size, taken.model.geom("box").size),
        (model.geom("ball").size[:1], taken.model.geom("ball").size[:1]),
        (model.geom("can").size[:2], taken.model.geom("can").size[:2]),
        (np.ptp(model.mesh_vert, axis=0), np.ptp(taken.model.mesh_vert, axis=0)),
    ]
    for old, new in sizes:
        assert all(within(abs(ratio), split, (0.05, 0.2), (0.35, 0.55)) for ratio in np.log(new / old))
    assert np.allclose(np.linalg.norm(taken.model.mesh_normal, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_shapes_become_the_splits_classes(split, index):
    kind = mujoco.mjtGeom
    model, data, taken = picture("shapes", split, index)
    allowed = {
        "seen": {int(kind.mjGEOM_BOX), int(kind.mjGEOM_ELLIPSOID)},
        "unseen": {int(kind.mjGEOM_CYLINDER), int(kind.mjGEOM_CAPSULE)},
    }[split]
    new = {name: int(taken.model.geom(name).type[0]) for name in ("box", "ball", "can", "wedge")}
    assert set(new.values()) <= allowed
    assert all(number != model.geom(name).type[0] for name, number in new.items())
    assert new["ball"] != kind.mjGEOM_ELLIPSOID, "an ellipsoid as wide as high is the ball that it was"
    for name in new:
        assert taken.model.geom(name).size[0] <= 1.01 * model.geom_aabb[model.geom(name).id, 3:].max()
    wedge = model.geom("wedge").id
    middle = data.geom_xmat[wedge].reshape(3, 3) @ model.geom_aabb[wedge, :3]
    assert np.abs(middle).max() > 0.005
    assert np.allclose(taken.data.geom_xpos[wedge], data.geom_xpos[wedge] + middle)
    taken.pose(data)
    assert np.allclose(taken.data.geom_xpos[wedge], data.geom_xpos[wedge] + middle), "moved twice"


@pytest.mark.parametrize(("split", "index"), SEVERAL)
def test_distractors_stand_on_what_is_there(split, index):
    model, data, taken = picture("distractors", split, index, BEHIND)
    taken.settle(eye(model, data))
    things = taken.things(eye(model, data))
    kind = mujoco.mjtGeom
    angular, turned = {kind.mjGEOM_BOX, kind.mjGEOM_SPHERE}, {kind.mjGEOM_CYLINDER, kind.mjGEOM_CAPSULE}
    assert len(things) in (range(2, 5) if split == "seen" else range(5, 9))
    assert {thing["type"] for thing in things} <= (angular if split == "seen" else turned)
    for thing in things:
        caps = thing["size"][0] if thing["type"] == kind.mjGEOM_CAPSULE else 0
        bottom = thing["pos"][2] - thing["size"][2] - caps
        assert min(abs(bottom), abs(bottom - 0.5)) < 1e-6
        assert within(rgb_to_hsv(thing["rgba"][:3])[0], split, (0, 0.45), (0.5, 0.95))


def test_distractors_stay_while_the_camera_does_and_come_by_again_when_it_travels():
    model, data, taken = picture("distractors", "unseen", 0, BEHIND)
    here = eye(model, data)
    taken.settle(here)
    places = np.array([thing["pos"] for thing in taken.things(here)])
    assert np.allclose(places, [thing["pos"] for thing in taken.things(here)])
    model.cam_pos[:, 0] += 0.01
    mujoco.mj_forward(model, data)
    assert np.allclose(places, [thing["pos"] for thing in taken.things(eye(model, data))]), "no part of the picture"
    model.cam_pos[:, 0] += 1000
    mujoco.mj_forward(model, data)
    later = np.array([thing["pos"] for thing in taken.things(eye(model, data))])
    assert (abs(later[:, 0] - 1000) < 10).all()
    assert np.allclose(later[:, 1:], places[:, 1:])


def test_distractors_float_where_there_is_no_floor():
    text = "<mujoco><worldbody><camera name='front' pos='0 0 5'/><geom size='.1'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    taken = Picture(model, data, Variant("distractors", 0, "unseen"))
    taken.settle(eye(model, data))
    things = taken.things(eye(model, data))
    assert len(things) >= 5
    assert all(abs(thing["pos"][2]) < 1e-6 for thing in things)
