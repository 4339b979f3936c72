# The log-likelihood after each EM iteration of flexmix, and where 20 iterations lead, in the letters of the paper.
# Run `Rscript flexmix.R` here; see README.md.

suppressPackageStartupMessages(library(flexmix))

ITERATIONS <- 20
# nnet's defaults (at most 100 steps of BFGS, reltol 1e-8) would end the M-steps too early: run on until nothing changes.
EXACT <- list(maxit = 10000, abstol = 0, reltol = 0)

digits <- function(v) sprintf("%.15g", v + 0) # + 0: no negative zero

# flexmix's own gate, with two changes: nnet's options (its fit passes them on), and a record of the fitted
# probabilities.  The coefficients that flexmix reports at the end would not do: they are fitted anew, to the posteriors
# of the final E-step, and so belong to the iteration after the reported log-likelihood.
exact_gate <- function(formula) {
  gate <- FLXPmultinom(formula)
  fit <- gate@fit
  record <- new.env()
  gate@fit <- function(x, y, w, ...) {
    record$x <- x
    record$probabilities <- do.call(fit, c(list(x, y), if (!missing(w)) list(w), EXACT))
    record$probabilities
  }
  list(driver = gate, record = record)
}

run <- function(sample, K, k) {
  names <- grep("^x", colnames(sample), value = TRUE)
  right <- reformulate(names)
  # Class K has to be the reference: for the binomial model it is the failure, for the multinomial one the first class.
  if (K == 2) {
    sample$response <- cbind(sample$y == 1, sample$y == 2) + 0
    driver <- FLXMRglm(family = "binomial")
  } else {
    sample$response <- sample$y %% K + 1
    driver <- do.call(FLXMRmultinom, EXACT)
  }
  start <- as.matrix(sample[paste0("start", k, "_", 1:k)])
  log_likelihood <- numeric(ITERATIONS)
  for (t in 1:ITERATIONS) {
    gate <- exact_gate(right)
    fitted <- flexmix(update(right, response ~ .), data = sample, k = k, cluster = start, model = driver,
      concomitant = gate$driver,
      control = list(iter.max = t, minprior = 0, tolerance = 0, classify = "weighted"))
    stopifnot(fitted@iter == t, fitted@k == k)
    log_likelihood[t] <- fitted@logLik
  }

  log_odds <- log(gate$record$probabilities / gate$record$probabilities[, k])
  beta <- t(qr.coef(qr(gate$record$x), log_odds))
  stopifnot(max(abs(gate$record$x %*% t(beta) - log_odds)) < 1e-10)
  rows <- list()
  put <- function(parameter, i, s, j, value) {
    rows[[length(rows) + 1]] <<- data.frame(K, k, parameter, i, s, j, value = digits(value))
  }
  for (i in 1:k) {
    put("beta0", i, "", "", beta[i, 1])
    for (j in seq_along(names)) put("beta1", i, "", j, beta[i, 1 + j])
    coefficients <- matrix(fitted@components[[i]][[1]]@parameters$coef, nrow = K - 1)
    for (s in 1:(K - 1)) {
      put("a", i, s, "", coefficients[s, 1])
      for (j in seq_along(names)) put("b", i, s, j, coefficients[s, 1 + j])
    }
  }
  list(log_likelihood = log_likelihood, parameters = do.call(rbind, rows), posterior = posterior(fitted))
}

write <- function(table, file) write.csv(table, file, row.names = FALSE, quote = FALSE, eol = "\n")

log_likelihood <- data.frame(iteration = 1:ITERATIONS)
parameters <- NULL
for (K in 2:3) {
  sample <- read.csv(paste0("sample_K", K, ".csv"))
  posteriors <- list()
  for (k in 2:3) {
    result <- run(sample, K, k)
    log_likelihood[[paste0("K", K, "_k", k)]] <- digits(result$log_likelihood)
    parameters <- rbind(parameters, result$parameters)
    for (i in 1:k) posteriors[[paste0("end", k, "_", i)]] <- sprintf("%.8f", result$posterior[, i])
  }
  write(as.data.frame(posteriors), paste0("posteriors_K", K, ".csv"))
}
write(log_likelihood, "log_likelihood.csv")
write(parameters, "parameters.csv")
packages <- c("flexmix", "nnet")
write(data.frame(software = c("R", packages),
  version = c(as.character(getRversion()), sapply(packages, function(p) as.character(packageVersion(p))))),
  "versions.csv")
