"""Softmax gating multinomial logistic mixtures of experts: estimator, losses and checks."""
