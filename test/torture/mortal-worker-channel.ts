/** On which workers are told to die. */
export const deathChannel = 'laneway-mortal-workers'
