"""Training and recording of networks: speed beside the textbook loop, and the time to a hundred networks.

``make bench BENCH=ctrnn``; two cores, 1 GB of memory, 10 to 30 minutes. Where the machine is busy with other things,
the ratios fall: the load is printed.
"""

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from fctoolbox_ctrnn.ensemble import train_ensemble
from fctoolbox_ctrnn.scan import Workspace
from fctoolbox_ctrnn.task import TASK_ID
from fctoolbox_ctrnn.training import Checkpoint, Learner, Training, advance_together
from fctoolbox_ctrnn.trials import Trials, draw_trials, read_task
from fctoolbox_ctrnn.weights import Recipe
from measure import Row, main

N_UNITS, N_TRIALS, N_TIMES, DT, TAU = 100, 16, 100, 20, 100.0
N_NETWORKS, CHUNK = 20, 10
# nn-brain does not cut gradients; looks at validation trials are no part of a training step.
LIKE_NN_BRAIN = Training(n_trials=N_TRIALS, largest_gradient=float("inf"), evaluate_every=10)


class Textbook(torch.nn.Module):
    """A network as nn-brain's tutorial has it: a Linear for the input, one for the recurrence, a loop over time."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.alpha = DT / TAU
        self.input2h = torch.nn.Linear(n_inputs, N_UNITS)
        self.h2h = torch.nn.Linear(N_UNITS, N_UNITS)
        self.readout = torch.nn.Linear(N_UNITS, n_outputs)

    def forward(self, inputs):
        hidden, states = torch.zeros(inputs.shape[1], N_UNITS), []
        for now in inputs:
            drive = self.input2h(now) + self.h2h(hidden)
            hidden = torch.relu(hidden * (1 - self.alpha) + drive * self.alpha)
            states.append(hidden)
        return self.readout(torch.stack(states))


def textbook(task, batches, seed, largest_gradient=None):
    """The losses of a training, one network alone."""
    torch.manual_seed(seed)
    net = Textbook(len(task.columns), task.n_actions)
    optimizer, criterion = torch.optim.Adam(net.parameters(), lr=0.01), torch.nn.CrossEntropyLoss()
    losses = []
    for trials in batches:
        inputs, targets = torch.from_numpy(trials.inputs), torch.from_numpy(trials.targets)
        optimizer.zero_grad()
        loss = criterion(net(inputs).view(-1, task.n_actions), targets.view(-1))
        loss.backward()
        if largest_gradient:
            torch.nn.utils.clip_grad_norm_(net.parameters(), largest_gradient)
        optimizer.step()
        losses.append(loss.item())
    return losses


def last_steps(trials):
    """The last 100 time steps: the 10 before them hold no more than fixation and the stimulus' beginning."""
    return Trials(trials.inputs[-N_TIMES:], trials.targets[-N_TIMES:], trials.coherence)


class Cut(Recipe):
    """A recipe whose trials have 100 time steps."""

    def batch(self, step):
        return last_steps(super().batch(step))


def textbook_batches(task, n, seed):
    return [last_steps(draw_trials(task, N_TRIALS, seed=(seed, 9, step))) for step in range(n)]


def stacks(recipes):
    """The stacks of a stretch of training, and a look's worth of validation as small as can be."""
    few = recipes[0].batch(0)
    learners = [Learner(Checkpoint(recipe.start(), {}), recipe.batch, few) for recipe in recipes]
    return [learners[k : k + CHUNK] for k in range(0, len(learners), CHUNK)]


def steps_together(parts, pool, workspaces):
    """One stretch of all stacks, over threads."""
    return list(pool.map(lambda part, space: advance_together(part, LIKE_NN_BRAIN, space), parts, workspaces))


def load():
    """How busy the machine is."""
    return f"load {os.getloadavg()[0]:.1f}"


def training_per_network():
    """Milliseconds per step and network: twenty networks together, and one at a time in a loop over time steps."""
    task, n_steps = read_task(TASK_ID, DT), LIKE_NN_BRAIN.evaluate_every
    recipes = [Cut(task, N_UNITS, TAU, seed, LIKE_NN_BRAIN) for seed in range(N_NETWORKS)]
    parts, batches = stacks(recipes), textbook_batches(task, n_steps, 0)
    ours, theirs = [], {1: [], 2: []}
    torch.set_num_threads(1)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        workspaces = [Workspace() for _ in parts]
        steps_together(parts, pool, workspaces)
        for _ in range(7):
            started = time.perf_counter()
            steps_together(parts, pool, workspaces)  # trials are drawn in it, in the textbook's before it
            ours.append(1e3 * (time.perf_counter() - started) / n_steps / N_NETWORKS)
            for n_threads, times in theirs.items():
                torch.set_num_threads(n_threads)
                started = time.perf_counter()
                textbook(task, batches, 0)
                times.append(1e3 * (time.perf_counter() - started) / n_steps)
            torch.set_num_threads(1)
    mine, (one, two) = statistics.median(ours), (statistics.median(times) for times in theirs.values())
    ratio = min(one, two) / mine
    return [
        Row(
            f"a training step of a network: {N_UNITS} units, {N_TRIALS} trials, {N_TIMES} time steps, {N_NETWORKS} "
            "networks together",
            "≥ 4 × faster than the textbook loop",
            f"{ratio:.1f} ×: {mine:.2f} ms, trials included; textbook {one:.1f} ms on 1 thread, {two:.1f} ms on 2 "
            f"(medians of {len(ours)} interleaved rounds, {load()})",
            ratio >= 4,
        )
    ]


def loss_curves():
    """The loss at the end of some training, in many networks: ours beside the textbook's, other seeds each."""
    task, n_steps, last = read_task(TASK_ID, DT), 120, 30
    # Gradients are cut in both, and logarithms compared: the loss of a single batch can be a million.
    training = Training(n_trials=N_TRIALS, evaluate_every=last)
    recipes = [Cut(task, N_UNITS, TAU, seed, training) for seed in range(N_NETWORKS)]
    torch.set_num_threads(1)
    learners = [each for part in stacks(recipes) for each in part]
    for _ in range(n_steps // last):
        outcomes = advance_together(learners, training, Workspace())
        if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
            raise RuntimeError(problems[0])
        learners = [
            Learner(o.checkpoint, each.trials_of_step, each.validation)
            for each, o in zip(learners, outcomes, strict=True)
        ]
    ours = np.array([[look.loss for look in each.checkpoint.curve] for each in learners])
    theirs = np.array(
        [
            textbook(task, textbook_batches(task, n_steps, 1000 + seed), seed, training.largest_gradient)
            for seed in range(N_NETWORKS)
        ]
    )
    theirs = theirs.reshape(N_NETWORKS, -1, last).mean(axis=2)
    ours, theirs = np.log10(ours), np.log10(theirs)
    mean = np.stack([ours.mean(axis=0), theirs.mean(axis=0)])
    error = np.stack([each.std(axis=0, ddof=1) / np.sqrt(N_NETWORKS) for each in (ours, theirs)])
    distance = np.abs(mean[0] - mean[1]) / np.sqrt((error**2).sum(axis=0))
    curves = "; ".join(
        f"steps {last * k + 1}-{last * (k + 1)}: "
        + " and ".join(f"{m:.4f} ± {e:.4f}" for m, e in zip(m2, e2, strict=True))
        for k, (m2, e2) in enumerate(zip(mean.T, error.T, strict=True))
    )
    return [
        Row(
            f"loss curves of {N_NETWORKS} networks, ours and the textbook's: log10 of the loss, mean ± standard error",
            "all within 3 standard errors of each other",
            f"at most {distance.max():.1f}; {curves}",
            bool(distance.max() <= 3),
        )
    ]


def hundred_networks(n=100, device=None):
    """Seconds until 100 networks of the default recipe answer fresh coherent trials correctly."""
    task = read_task(TASK_ID, DT)
    recipes = [Recipe(task, N_UNITS, TAU, seed) for seed in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FCTOOLBOX_CACHE"] = folder
        started = time.perf_counter()
        networks = train_ensemble(recipes, steps=4000, n_jobs=2, device=device)
        minutes = (time.perf_counter() - started) / 60
    shares = []
    for recipe, checkpoint in zip(recipes, networks, strict=True):
        # So many that the worst of a hundred is not a matter of luck: 4,000 coherent ones tell 0.96 to 0.003.
        trials = recipe.fresh(5000)
        correct = trials.correct(checkpoint.network.readout(checkpoint.network.run(trials.inputs)))
        shares.append(correct[trials.coherent].mean())
    steps = [checkpoint.step for checkpoint in networks]
    bar = 30 if device is None else 3
    return [
        Row(
            f"{n} networks on perceptual decision-making, on {device or '2 cores'}",
            f"≤ {bar} min, each ≥ 0.95 of fresh coherent trials",
            f"{minutes:.1f} min ({load()}); accuracy {min(shares):.3f} to {max(shares):.3f}, median "
            f"{statistics.median(shares):.3f}; {min(steps)} to {max(steps)} steps, median {statistics.median(steps):g}",
            minutes <= bar * n / 100 and min(shares) >= 0.95,
        )
    ]


def hundred_networks_on_a_card():
    """The same on a graphics card, where there is one."""
    if not torch.cuda.is_available():
        return [Row("100 networks on a graphics card", "≤ 3 min", "no GPU", None)]
    return hundred_networks(device="cuda")


def recording():
    """Seconds to run one network on 1,000 trials, in double precision."""
    recipe = Recipe(read_task(TASK_ID, DT), N_UNITS, TAU, 0)
    network, trials = recipe.start(), recipe.fresh(1000)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        network.readout(network.run(trials.inputs))
        seconds.append(time.perf_counter() - started)
    found = statistics.median(seconds)
    return [
        Row(
            f"recording 1,000 trials of {len(trials.targets)} time steps of one network",
            "≤ 5 s",
            f"{found:.2f} s (median of {len(seconds)}, {load()})",
            found <= 5,
        )
    ]


if __name__ == "__main__":
    measurements = [training_per_network, loss_curves, recording, hundred_networks_on_a_card, hundred_networks]
    raise SystemExit(main("Networks: training and recording", measurements))
