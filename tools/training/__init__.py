"""Trains a network from flags and data.

The loop is in train.py. What it calls, in order:

    run.py        data, folder of the run, lock, attempts, score of the last snapshot
    samples.py    training and validation samples; preflight.py checks their labels
    identity.py   which run is meant, from the flags and the checksums of the data
    start.py      what the run starts from: random weights, a checkpoint or a snapshot
    attempt.py    one attempt: builds the network (build.py), opens the session, yields the trainer
    loop.py       `Trainer`: steps (step.py), when to save, score and stop (plan.py)
    early_stopping.py whether the scores still improve
    outputs.py    snapshots and curves; summaries.py writes training.csv and TensorBoard's files
    validation.py scores a snapshot; best_snapshot.py keeps the best; copied_scores.py copies scores to other hosts
    agreed_subjects.py what several hosts have to have in common; notices.py what they tell each other in a step
    rollback.py   back to the last snapshot after NaN or infinity
    report.py     the summary at the start; progress.py the line of progress
"""
