#!/usr/bin/env bash
# scikit-learn's confusion_matrix forgets undecided pixels, its jaccard_score counts them as wrong.
#
# Versions: scikit-learn 1.9.1, torchmetrics 1.9.0, torch 2.14.1
# Guessed:  IoU from the confusion matrix is what jaccard_score says for the same labels.
# Seen:     with labels=[0, 1] a prediction of 255 drops its pixel from the matrix, truth and all, without a word: IoU 1
#           for both classes of a map that leaves half of its pixels undecided. jaccard_score, asked for the same
#           labels, says 2/3 and 1/3. torchmetrics' confusion matrix of 21 classes checks how many labels there are, not
#           which: 255 over background is counted as class 12 taken for class 3.
source "$(dirname "$0")/environment.sh"
environment scikit-learn==1.9.1 torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6

"$python" - <<'PYTHON'
import numpy as np
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torchmetrics.functional.classification import multiclass_confusion_matrix

truth, guess, labels = [0, 0, 0, 1, 1, 1], [0, 0, 255, 1, 255, 255], [0, 1]
counts = confusion_matrix(truth, guess, labels=labels)
pooled = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
scored = jaccard_score(truth, guess, labels=labels, average=None)
print("from confusion_matrix", pooled.tolist(), "by jaccard_score", scored.tolist())
assert pooled.tolist() == [1, 1] and np.allclose(scored, [2 / 3, 1 / 3])
counted = multiclass_confusion_matrix(torch.tensor(guess), torch.tensor(truth), 21).nonzero().tolist()
print("counted by torchmetrics:", counted)
assert counted == [[0, 0], [1, 1], [12, 3], [13, 3]]
print("as seen before")
PYTHON
